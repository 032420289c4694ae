"""`loramerge schema`."""

from __future__ import annotations

from pathlib import Path

import click

from loramerge.cli import console, options
from loramerge.errors import LoramergeError
from loramerge.files.reading import text_of

_FOLDER = "schemas"


@click.command(
    epilog=options.examples(
        "loramerge schema > recipe.schema.json",
        "loramerge schema --write schemas",
        "loramerge schema --check",
    )
)
@click.option("--write", "folder", metavar="DIR", type=click.Path(), help="Write recipe.schema.json into a folder.")
@click.option("--check", is_flag=True, help=f"Write nothing; fail if the file in DIR ({_FOLDER}) differs.")
@options.verbose
def command(folder: str | None, check: bool, verbose: bool) -> None:
    """Print the JSON Schema of recipes.

    Editors with a YAML language server complete and check a recipe that begins with
    `# yaml-language-server: $schema=` and the file's place.
    """
    del verbose
    from loramerge.recipe import schema

    if check:
        _check_schema(Path(folder or _FOLDER) / schema.FILE, schema.text())
    elif folder is not None:
        console.note(f"wrote {schema.write(Path(folder))}")
    else:
        click.echo(schema.text(), nl=False)


def _check_schema(file: Path, expected: str) -> None:
    try:
        found = text_of(file)
    except FileNotFoundError:
        found = ""
    if found != expected:
        raise LoramergeError(
            f"{file} is not the schema of this version" if found else f"there is no {file}",
            hint=f"loramerge schema --write {file.parent}",
        )
    console.result(f"{file}: ok")
