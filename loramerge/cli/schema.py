"""`loramerge schema`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from loramerge.cli import console, options
from loramerge.errors import LoramergeError, UsageError
from loramerge.files.reading import text_of
from loramerge.files.writing import writing

_FOLDER = "schemas"
_KINDS = ("recipe", "output")


@click.command(
    epilog=options.examples(
        "loramerge schema > recipe.schema.json",
        "loramerge schema output > output.schema.json",
        "loramerge schema --write schemas",
        "loramerge schema --check",
    )
)
@click.argument("kind", metavar="[recipe|output]", type=click.Choice(_KINDS), required=False)
@click.option("--write", "folder", metavar="DIR", type=options.PlaceType(), help="Write both schemas into a folder.")
@click.option("--check", is_flag=True, help=f"Write nothing; fail if a file in DIR ({_FOLDER}) differs.")
@options.verbose
def command(kind: str | None, folder: str | None, check: bool, verbose: bool) -> None:
    """Print the JSON Schema of recipes, or of what --json prints.

    Editors with a YAML language server complete and check a recipe that begins with
    `# yaml-language-server: $schema=` and the file's place. In the schema of the output the document of each command
    is under `$defs` by the command's name, whether it succeeded or failed.
    """
    del verbose
    if kind is not None and (check or folder is not None):
        raise UsageError(
            f"--write and --check are for both schemas, and {kind} is one of them", hint=f"leave out {kind}"
        )
    from loramerge.cli.output import schema as output
    from loramerge.recipe import schema as recipe

    schemas = {recipe.FILE: recipe.text(), output.FILE: output.text()}
    if check:
        for name, text in schemas.items():
            _check_schema(Path(folder or _FOLDER) / name, text)
    elif folder is not None:
        for name, text in schemas.items():
            console.note(f"wrote {_write_schema(Path(folder) / name, text)}")
    else:
        click.echo(output.text() if kind == "output" else recipe.text(), nl=False)


def _write_schema(file: Path, text: str) -> Path:
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")
    return file


def _check_schema(file: Path, expected: str) -> None:
    try:
        found = text_of(file)
    except FileNotFoundError:
        found = ""
    if found != expected:
        raise LoramergeError(
            f"{file} is not the schema of this version" if found else f"there is no {file}",
            hint=f"`loramerge schema --write {shlex.quote(str(file.parent))}` writes it",
        )
    console.result(f"{file}: ok")
