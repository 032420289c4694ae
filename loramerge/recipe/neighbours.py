"""What a recipe takes from files beside it: `defaults:`, and `include:` in its list of LoRAs.

Such a file lies in the recipe's own folder, so paths in it mean the same as in the recipe.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from loramerge.documents import yaml_document
from loramerge.documents.document import Document
from loramerge.documents.mistaken import RECIPES
from loramerge.documents.problems import KeyPath, Problem, RecipeProblemsError
from loramerge.documents.text import read_text

DEFAULTS, INCLUDE = "defaults", "include"
_OWN = (DEFAULTS, "name")


def gather(document: Document, folder: Path, origin: str) -> Mapping[Path, str]:
    """Put what files beside a recipe say into it.

    Mappings are joined key by key, and the recipe's own keys win; a key that it has as null is left out. Of lists of
    LoRAs each entry takes the place of its `include`. What comes from such a file stands there, for messages.

    Args:
        document: A mapping; it is changed. What is wrong joins its problems.
        folder: The recipe's.
        origin: What messages call the recipe.

    Returns:
        The files and their texts.
    """
    neighbours = _Neighbours(document, folder, origin)
    if DEFAULTS in document.data:
        name = document.data.pop(DEFAULTS)
        if (given := neighbours.read((DEFAULTS,), name, "defaults")) is not None:
            _add_defaults(document, given)
        document.forget((DEFAULTS,))
    loras = document.data.get("loras")
    if isinstance(loras, list) and any(isinstance(each, dict) and INCLUDE in each for each in loras):
        _include(document, loras, neighbours)
    return neighbours.texts


def named_in(data: Mapping[str, Any]) -> Iterator[str]:
    """Names of files beside it that a recipe takes something from.

    Args:
        data: The recipe as its file has it, right or wrong.
    """
    loras = data.get("loras")
    entries = [each.get(INCLUDE) for each in (loras if isinstance(loras, list) else ()) if isinstance(each, dict)]
    for name in (data.get(DEFAULTS), *entries):
        if isinstance(name, str) and PurePath(name).name == name:
            yield name


def _add_defaults(document: Document, given: Document) -> None:
    if not isinstance(given.data, dict):
        message = "expected keys of a recipe, such as `base:` and `outputs:`"
        document.problems.append(Problem(given.origin(()), (), message))
        return
    document.problems += given.problems_of_form
    for key in _OWN:
        if key in given.data:
            what = "a file of defaults has none of its own" if key == DEFAULTS else "each recipe has its own"
            problem = Problem(given.origin((key,), of_key=True), (key,), f"{what}; leave it out here")
            document.problems.append(problem)
    _join(document, document.data, given, {key: each for key, each in given.data.items() if key not in _OWN}, ())


def _join(document: Document, mine: dict[str, Any], given: Document, theirs: dict[str, Any], key: KeyPath) -> None:
    for name, value in theirs.items():
        here = (*key, name)
        if name not in mine:
            mine[name] = copy.deepcopy(value)
            document.taken(here, given, here)
        elif mine[name] is None and here not in document.unread:
            del mine[name]
            document.forget(here)
        elif isinstance(mine[name], dict) and isinstance(value, dict):
            _join(document, mine[name], given, value, here)


def _include(document: Document, loras: list[Any], neighbours: _Neighbours) -> None:
    before, entries = document.copy(), list[tuple[Any, Document, KeyPath]]()
    for index, entry in enumerate(loras):
        at: KeyPath = ("loras", index)
        if not isinstance(entry, dict) or INCLUDE not in entry:
            entries.append((entry, before, at))
        elif others := [name for name in entry if name != INCLUDE]:
            message = f"an `include` has no other keys; give {others[0]!r} to the entries of its file"
            document.problems.append(Problem(before.origin((*at, others[0]), of_key=True), (*at, others[0]), message))
        elif (given := neighbours.read((*at, INCLUDE), entry[INCLUDE], "list of LoRAs")) is not None:
            entries += _entries(document, given)
    document.forget(("loras",))
    document.taken(("loras",), before, ("loras",))
    for index in range(len(loras)):
        document.forget(("loras", index))
    loras.clear()
    for index, (entry, source, at) in enumerate(entries):
        loras.append(entry)
        document.taken(("loras", index), source, at)


def _entries(document: Document, given: Document) -> Iterator[tuple[Any, Document, KeyPath]]:
    key: KeyPath = ()
    listed = given.data
    if isinstance(listed, dict) and set(listed) == {"loras"}:
        key, listed = ("loras",), listed["loras"]
    if not isinstance(listed, list) or not listed:
        message = "expected a list of LoRAs, each with `name:` and `source:`"
        document.problems.append(Problem(given.origin(key), key, message))
        return
    document.problems += given.problems_of_form
    for index, entry in enumerate(listed):
        at = (*key, index)
        if isinstance(entry, dict) and INCLUDE in entry:
            message = "a list that is included includes no other; name that in the recipe"
            document.problems.append(Problem(given.origin((*at, INCLUDE), of_key=True), (*at, INCLUDE), message))
        else:
            yield copy.deepcopy(entry), given, at


@dataclass(frozen=True)
class _Neighbours:
    """Files beside a recipe.

    Attributes:
        document: The recipe; what is wrong with a file joins its problems.
        folder: Where they lie.
        origin: What messages call the recipe.
        texts: Those that were read.
    """

    document: Document
    folder: Path
    origin: str
    texts: dict[Path, str] = field(default_factory=dict)

    def read(self, key: KeyPath, name: object, what: str) -> Document | None:
        """The file of a name; None where it can't be read.

        Args:
            key: Where the recipe has the name.
            name: As it stands there.
            what: What messages call such a file.
        """
        at, problems = self.document.origin(key), self.document.problems
        if not isinstance(name, str) or PurePath(name).name != name or "\\" in name or not name.endswith(RECIPES):
            expected = "expected the name of a YAML file in the recipe's folder, such as common.yaml"
            problems.append(Problem(at, key, expected))
            return None
        if name == PurePath(self.origin).name:
            problems.append(Problem(at, key, f"{name} is this file itself; name another one, or leave it out"))
            return None
        path = self.folder / name
        try:
            self.texts[path] = text = read_text(path, what=what)
            return yaml_document.load(text, origin=str(PurePath(self.origin).with_name(name)))
        except RecipeProblemsError as error:
            problems += [
                each if each.origin.line else Problem(at, key, f"{name}: {each.message}", each.hint)
                for each in error.problems
            ]
            return None
