"""`loramerge bom`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from loramerge.cli import console, options
from loramerge.errors import UsageError
from loramerge.files.atomic import replacing_file
from loramerge.files.neighbours import beside
from loramerge.files.writing import writing


@click.command(
    epilog=options.examples(
        "loramerge bom dist/quickstart > bom.cdx.json",
        "loramerge bom dist/quickstart -o bom.cdx.json",
        "loramerge bom dist/quickstart | jq -r '.components[].purl'",
    )
)
@click.argument("artifact", metavar="ARTIFACT", type=click.Path())
@click.option(
    "-o", "--output", metavar="FILE", type=options.PlaceType("a file"), help="Where to; standard output if absent."
)
@click.option("--force", is_flag=True, help="Replace FILE.")
@options.verbose
def command(artifact: str, output: str | None, force: bool, verbose: bool) -> None:
    """Write a bill of materials of an artifact.

    ARTIFACT is a folder that `loramerge run` left. The bill is CycloneDX 1.6 in JSON: the merged model and its files,
    the base and every LoRA with their commits, licences and SHA-256, and the versions of what made it. It is told
    from the artifact's papers, and the same artifact has the same bill. Put it beside the artifact: inside, it would
    be a file that the provenance does not know.
    """
    del verbose
    from loramerge.provenance.bom import bill_of_materials

    place = None if output is None else Path(output)
    is_special = place is not None and place.exists() and not place.is_file() and not place.is_dir()
    if place is not None and os.path.lexists(place) and not (force or is_special):
        raise UsageError(f"{place} exists", hint="choose another with -o, or replace it with --force")
    text = bill_of_materials(Path(artifact))
    if place is None:
        click.echo(text, nl=False)
        return
    if place.resolve().is_relative_to(Path(artifact).resolve()):
        raise UsageError(
            f"{place} lies in the artifact, where it would be a file that the provenance does not know",
            hint="choose a place beside it",
        )
    with (
        writing(place, "" if place.parent.is_dir() else beside(place)),
        place.open("wb") if is_special else replacing_file(place.resolve()) as stream,
    ):
        stream.write(text.encode())
    console.note(f"wrote {place}")
