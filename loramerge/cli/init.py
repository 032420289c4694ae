"""`loramerge init`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loramerge.cli import console, options, progress
from loramerge.documents.mistaken import RECIPES
from loramerge.errors import UsageError
from loramerge.files.neighbours import beside
from loramerge.files.writing import writing
from loramerge.recipe.init import COMBINATION_TYPES, InitialLora, names_for, recipe_text, source_from

if TYPE_CHECKING:
    from loramerge import Adapter, Recipe


@click.command(
    epilog=options.examples(
        "loramerge init ink.safetensors glow.safetensors -o ink-glow.yaml",
        "loramerge init hf://owner/ink hf://owner/glow --base models/sdxl --name ink-glow --type ties",
        "loramerge init a.safetensors b.safetensors --base sd15 -o - | loramerge run -",
    )
)
@click.argument("loras", metavar="LORA...", nargs=-1, required=True, type=click.Path())
@options.base
@click.option("--name", metavar="NAME", help="Name of the recipe; those of the LoRAs, joined, if absent.")
@click.option(
    "--type",
    "combination_type",
    metavar="TYPE",
    type=click.Choice(COMBINATION_TYPES),
    default="cat",
    show_default=True,
    help=f"How they become one: {', '.join(COMBINATION_TYPES)}.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=options.PlaceType("a file", allow_dash=True),
    help="Where the recipe goes; NAME.yaml if absent, - prints it.",
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@options.verbose
def command(
    loras: tuple[str, ...],
    base: str | None,
    name: str | None,
    combination_type: str,
    output: str | None,
    force: bool,
    verbose: bool,
) -> None:
    """Write a recipe for LoRAs.

    LORA is a file, a folder, or hf://owner/name[/file]. Each is read and compared with the base and the type, so that
    what is written can be run. The output is in the format of the LoRAs; for ComfyUI and A1111, if they have several.
    """
    from loramerge import WeightedAdapter, load_base
    from loramerge.bases.published import architecture
    from loramerge.recipe.given_base import GivenBase
    from loramerge.recipe.one_shot import format_of_all, unweighted
    from loramerge.stages.combine import check_combination
    from loramerge.stages.load_adapter import read_adapter
    from loramerge.stages.probe import probe

    del verbose
    names = names_for([unweighted(lora) for lora in loras])
    title = name or "-".join(names)[:96].rstrip("._-")
    file = None if output == "-" else Path(output or f"{title}.yaml")
    if file is not None and not file.name.endswith(RECIPES):
        named = file / f"{title}.yaml" if file.is_dir() else file.with_suffix(".yaml")
        raise UsageError(f"{file}: a recipe is called NAME.yaml", hint=f"-o {shlex.quote(str(named))}")
    if file is not None and os.path.lexists(file) and not force:
        raise UsageError(f"{file} exists", hint="choose another with -o, or overwrite it with --force")
    folder = file.parent if file else Path()
    given = GivenBase.parse(base)
    with progress.shown(title, as_json=False) as watcher:
        watcher.start("resolve", 1 if given.source else 0)
        whole = load_base(given.source) if given.source else None
        found = probe(loras, whole, family=given.family, progress=watcher)
        source = given.source or found.source
        known = whole or (load_base(source) if source else architecture(found.family))
        watcher.start("read", len(loras))
        read = []
        for each, lora in zip(names, loras, strict=True):
            read.append(WeightedAdapter(each, read_adapter(lora, known)))
            watcher.advance()
    plain = all(_is_plain(each.adapter) for each in read)
    text = recipe_text(
        title,
        {"source": source_from(source, folder)} if source else {"family": found.family},
        [
            InitialLora(each.name, source_from(lora, folder), _rank(each.adapter), is_dora, _is_plain(each.adapter))
            for each, lora, is_dora in zip(read, loras, found.doras, strict=True)
        ],
        combination_type,
        format_of_all(found.formats) if plain else "kohya",
        run_line=f"loramerge run {shlex.quote(file.as_posix() if file else f'{title}.yaml')}",
        fusible=not known.is_model,
    )
    merge = _recipe(text, folder).merge
    check_combination(read, known, merge)
    if file is None:
        click.echo(text, nl=False)
        return
    hint = "" if file.parent.is_dir() else beside(file)
    with writing(file, hint), file.open("w" if force else "x", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
    console.note(f"wrote {file}; next: loramerge run {shlex.quote(str(file))}")


def _recipe(text: str, folder: Path) -> Recipe:
    """What is written is always a recipe; only a name can be none."""
    from loramerge.documents.problems import RecipeProblemsError
    from loramerge.recipe import parse

    try:
        return parse(text, origin="", folder=folder)
    except RecipeProblemsError as error:
        raise UsageError(error.by_key, hint="choose another --name") from error


def _rank(adapter: Adapter) -> int | None:
    """The rank of all modules, None where they differ."""
    ranks = {pair.trained_rank for *_, pair in adapter if pair.is_layer}
    return ranks.pop() if len(ranks) == 1 else None


def _is_plain(adapter: Adapter) -> bool:
    """Whether all of it are low-rank pairs."""
    return not any(pair.is_dense or pair.needs_weight for *_, pair in adapter)
