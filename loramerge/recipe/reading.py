"""From YAML to recipes: what stands beside the file and in its matrix is put in, then all of it is checked."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from loramerge.documents import yaml_document
from loramerge.documents.cells import cell, file_and_name
from loramerge.documents.explain import mistakes
from loramerge.documents.mistaken import other_file
from loramerge.documents.problems import KeyPath, Mistake, Problem, RecipeProblemsError, did_you_mean, dotted
from loramerge.documents.text import name_of, read_text
from loramerge.messages import counted, some
from loramerge.recipe.consistency import inconsistencies
from loramerge.recipe.matrix import MATRIX, expanded
from loramerge.recipe.model import Reading, Recipe
from loramerge.recipe.neighbours import DEFAULTS, gather
from loramerge.recipe.overrides import Override
from loramerge.recipe.own_paths import from_here, text_from_here

if TYPE_CHECKING:
    from loramerge.documents.document import Document


def read(path: Path | str, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a file.

    Args:
        path: The file; `-` reads standard input, and relative paths then start at the current folder. `FILE#NAME` is
            one of the recipes that a file with a matrix stands for.
        overrides: `KEY=VALUE` as `--set` takes them.

    Raises:
        RecipeProblemsError: The file is missing, unreadable or no valid recipe; `problems` has every mistake. Or it
            stands for several.
        UsageError: An override is not of the form `KEY=VALUE`.
    """
    return one_in(*text_at(path), overrides)


def read_each(path: Path | str, *, overrides: Sequence[str] = ()) -> tuple[Recipe, ...]:
    """Read the recipes that a file stands for: one, or as many as its matrix has combinations.

    Args:
        path: As for `read`.
        overrides: As for `read`; they hold for each.

    Raises:
        RecipeProblemsError: As for `read`; nothing is returned unless all of them are right.
        UsageError: An override is not of the form `KEY=VALUE`.
    """
    return recipes_in(*text_at(path), overrides)


def text_at(path: Path | str) -> tuple[Reading, str | None]:
    """The text that a path leads to, not parsed yet, and the name of the one recipe of it that is meant.

    Args:
        path: As for `read`.

    Raises:
        RecipeProblemsError: The file is missing or unreadable.
    """
    place, name = file_and_name(str(path))
    text = read_text(place, what="recipe")
    file = None if place == "-" else Path(place).absolute()
    return Reading(file.parent if file else Path.cwd(), file, text, name_of(place)), name


def recipes_in(where: Reading, name: str | None, overrides: Sequence[str]) -> tuple[Recipe, ...]:
    """The recipes of a text.

    Args:
        where: As `text_at` gives it.
        name: Of the one that is meant; None for all.
        overrides: As for `read`.

    Raises:
        RecipeProblemsError: As for `parse_each`, or there is none of that name.
        UsageError: As for `parse_each`.
    """
    found = _recipes_of(where, overrides)
    if name is None:
        return found
    chosen = tuple(each for each in found if each.name == name)
    if not chosen:
        names = [each.name for each in found]
        message = f"it stands for {some(names)}, and not for {name!r}{did_you_mean(name, names)}"
        hint = f"`loramerge validate {shlex.quote(where.origin)}` lists them"
        raise RecipeProblemsError([Problem(found[0].origin_of(("name",)), ("name",), message, hint)])
    return chosen


def one_in(where: Reading, name: str | None, overrides: Sequence[str]) -> Recipe:
    """The same of a text that stands for one recipe, or of which one is meant.

    Raises:
        RecipeProblemsError: As for `recipes_in`, or there are several.
        UsageError: As for `recipes_in`.
    """
    return _one_of(recipes_in(where, name, overrides), where.origin)


def parse(text: str, *, origin: str, folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from text.

    Args:
        text: YAML.
        origin: What to call the text in problems.
        folder: Where relative paths in the recipe start.
        overrides: `KEY=VALUE` as `--set` takes them; a later one wins.

    Raises:
        RecipeProblemsError: It is no valid recipe; `problems` has every mistake. Or it stands for several.
        UsageError: An override is not of the form `KEY=VALUE`.
    """
    return _one_of(parse_each(text, origin=origin, folder=folder, overrides=overrides), origin)


def parse_each(text: str, *, origin: str, folder: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, ...]:
    """Read the recipes that a text stands for.

    Args:
        text: YAML.
        origin: As for `parse`.
        folder: As for `parse`; `defaults` and what is included lie there, too.
        overrides: As for `parse`; they hold for each. Those of the name, `matrix` and `defaults` come first.

    Raises:
        RecipeProblemsError: Some are no valid recipes; `problems` has every mistake.
        UsageError: An override is not of the form `KEY=VALUE`.
    """
    return _recipes_of(Reading(folder, None, text, origin), overrides)


def _recipes_of(where: Reading, overrides: Sequence[str]) -> tuple[Recipe, ...]:
    folder = where.folder or Path.cwd()
    settings = [Override.parse(each) for each in overrides]
    document = yaml_document.load(where.text, origin=where.origin)
    if not isinstance(document.data, dict):
        found = "empty" if document.data is None else "no mapping"
        hint = "`loramerge init LORA… --base REF -o NAME.yaml` writes a first recipe"
        problem = Problem(document.origin(()), (), f"{found}; expected a recipe: `version: 1`, …", hint)
        raise RecipeProblemsError([problem])
    if other := other_file(document.data):
        raise RecipeProblemsError([Problem(document.origin(()), (), f"it is {other[0]}, and no recipe", other[1])])
    early = [each for each in settings if each.segments[0] in (MATRIX, DEFAULTS, "name")]
    for setting in early:
        _of_an_axis(setting).apply(document)
    beside = gather(document, folder, where.origin)
    several = MATRIX in document.data
    documents = expanded(document)
    problems: dict[Problem, None] = {}
    recipes = []
    for each in documents:
        for setting in settings:
            if setting not in early:
                setting.apply(each)
        from_here(each.data, folder)
        recipe = _validated(each)
        problems |= dict.fromkeys(each.problems)
        assert recipe is not None or each.problems  # noqa: S101  no recipe is lost without a word
        if recipe is not None:
            composed = beside or several
            text = yaml_document.dump(each.data) if settings or composed else text_from_here(where.text, folder)
            written = where.text if composed and not settings else ""
            recipes.append(
                recipe.read_as(
                    replace(where, text=text, several=several, written=written, beside=beside, document=each)
                )
            )
    if problems:
        raise RecipeProblemsError(problems)
    return tuple(recipes)


def _of_an_axis(setting: Override) -> Override:
    """Axes are called as keys are, dots included: `matrix.loras.ink.weight=[0.5, 1]` sets one of them."""
    first, *axis = setting.segments
    return replace(setting, segments=(first, ".".join(axis))) if first == MATRIX and axis else setting


def _validated(document: Document) -> Recipe | None:
    """The recipe; None where it has mistakes, which join the document's problems."""
    try:
        recipe = Recipe.model_validate(document.data)
    except ValidationError as error:
        document.problems += _problems(error, document)
        return None
    merge = recipe.merge.placed(lambda part: _standing(document, ("merge", "parts", part, "match")))
    return recipe.model_copy(update={"merge": merge}) if merge.parts else recipe


def _one_of(recipes: Sequence[Recipe], origin: str) -> Recipe:
    if len(recipes) == 1:
        return recipes[0]
    names = [each.name for each in recipes]
    message = f"it stands for {counted(len(names), 'recipe')}, and one is wanted: {some(names)}"
    hint = f"name one of them: {cell(origin, names[0])}"
    raise RecipeProblemsError([Problem(yaml_document.load("", origin=origin).origin(()), (MATRIX,), message, hint)])


def _standing(document: Document, key: KeyPath) -> str:
    return f"{document.origin(key)}: {dotted(key)}"


def _problems(error: ValidationError, document: Document) -> Iterator[Problem]:
    found = [*mistakes(error, _schema(), document.texts.get)]
    return document.placed([*found, *(Mistake(key, message) for key, message in inconsistencies(document.data))])


@cache
def _schema() -> dict[str, Any]:
    return Recipe.model_json_schema()
