"""`loramerge bom`."""

from __future__ import annotations

from pathlib import Path

import click

from loramerge.cli import console, options
from loramerge.errors import UsageError
from loramerge.files.writing import writing


@click.command(
    epilog=options.examples(
        "loramerge bom dist/quickstart > bom.cdx.json",
        "loramerge bom dist/quickstart -o bom.cdx.json",
        "loramerge bom dist/quickstart | jq -r '.components[].purl'",
    )
)
@click.argument("artifact", metavar="ARTIFACT", type=click.Path())
@click.option("-o", "--output", metavar="FILE", type=options.PlaceType(), help="Where to; standard output if absent.")
@options.verbose
def command(artifact: str, output: str | None, verbose: bool) -> None:
    """Write a bill of materials of an artifact.

    ARTIFACT is a folder that `loramerge run` left. The bill is CycloneDX 1.6 in JSON: the merged model and its files,
    the base and every LoRA with their commits, licences and SHA-256, and the versions of what made it. It is told
    from the artifact's papers, and the same artifact has the same bill. Put it beside the artifact: inside, it would
    be a file that the provenance does not know.
    """
    del verbose
    from loramerge.provenance.bom import bill_of_materials

    text = bill_of_materials(Path(artifact))
    if output is None:
        click.echo(text, nl=False)
        return
    place = Path(output)
    if place.resolve().is_relative_to(Path(artifact).resolve()):
        raise UsageError(
            f"{place} lies in the artifact, where it would be a file that the provenance does not know",
            hint="choose a place beside it",
        )
    with writing(place):
        place.write_text(text, encoding="utf-8", newline="\n")
    console.note(f"wrote {place}")
