"""Other values in YAML text that stays as it was written: its comments, its order, its quotes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

from loramerge.documents import yaml_document
from loramerge.documents.problems import RecipeProblemsError


def edited(text: str, wanted: Mapping[str, Any]) -> str | None:
    """The text with as little change as it takes to mean something else.

    Args:
        text: YAML, a mapping, that `yaml_document.load` takes.
        wanted: What it is to mean.

    Returns:
        None where that takes more than values, keys that go and keys that come: lists of another length, anchors.
    """
    have = yaml_document.load(text, origin="").data
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None  # noqa: S101  there is a mapping
    try:
        edits = sorted(_Editor(text).edits(root, have, wanted), key=lambda edit: (edit.start, edit.stop))
    except _UneditableError:
        return None
    if any(one.stop > other.start for one, other in pairwise(edits)):
        return None
    for edit in reversed(edits):
        text = text[: edit.start] + edit.text + text[edit.stop :]
    try:
        found = yaml_document.load(text, origin="")
    except RecipeProblemsError:
        return None
    return text if _same_data(found.data, wanted) and not found.problems else None


class _UneditableError(Exception):
    """It takes more than an edit."""


@dataclass(frozen=True)
class _Edit:
    """Characters from `start` up to `stop` become a text."""

    start: int
    stop: int
    text: str


class _Editor:
    def __init__(self, text: str) -> None:
        self._text = text

    def edits(self, node: yaml.Node, have: Any, want: Any) -> Iterator[_Edit]:
        """What has to change below a node."""
        if _same_data(have, want):
            return
        if isinstance(node, yaml.MappingNode) and isinstance(have, dict) and isinstance(want, Mapping):
            yield from self._of_mapping(node, have, want)
        elif isinstance(node, yaml.SequenceNode) and isinstance(want, list) and len(have) == len(want):
            for each, old, new in zip(node.value, have, want, strict=True):
                yield from self.edits(each, old, new)
        elif isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False):
            yield _Edit(node.start_mark.index, node.end_mark.index, yaml_document.dump_on_a_line(want))
        else:
            raise _UneditableError

    def _of_mapping(self, node: yaml.MappingNode, have: Mapping[str, Any], want: Mapping[str, Any]) -> Iterator[_Edit]:
        kept = [pair for pair in node.value if pair[0].value in want]
        for key, value in node.value:
            if key.value in want:
                yield from self.edits(value, have[key.value], want[key.value])
        for key, value in node.value:
            if key.value not in want:
                yield self._removal(node, key, value)
        new = {key: value for key, value in want.items() if key not in have}
        if new and not kept:
            raise _UneditableError
        if new:
            yield self._insertion(node, kept[-1], new)

    def _removal(self, node: yaml.MappingNode, key: yaml.Node, value: yaml.Node) -> _Edit:
        if not node.flow_style:
            start, stop = self._line_of(key.start_mark.index), self._line_behind(_end_of(value))
            if self._text[start : key.start_mark.index].strip():  # `- ` of a list stands before it
                raise _UneditableError
            above = self._line_of(max(start - 1, 0))
            while start and self._text[above:start].lstrip().startswith("#"):  # what is said of the key goes with it
                start, above = above, self._line_of(max(above - 1, 0))
            if start and not self._text[above:start].strip():  # so does the blank line before it
                start = above
            return _Edit(start, stop, "")
        place = next(at for at, (each, _) in enumerate(node.value) if each is key)
        if place:
            return _Edit(_end_of(node.value[place - 1][1]), _end_of(value), "")
        following = node.value[place + 1 :]
        return _Edit(key.start_mark.index, following[0][0].start_mark.index if following else _end_of(value), "")

    def _insertion(self, node: yaml.MappingNode, after: tuple[yaml.Node, yaml.Node], new: Mapping[str, Any]) -> _Edit:
        pairs = [yaml_document.dump_on_a_line({key: value})[1:-1] for key, value in new.items()]
        if node.flow_style:
            at = _end_of(after[1])
            return _Edit(at, at, "".join(f", {pair}" for pair in pairs))
        at = self._line_behind(_end_of(after[1]))
        indent = " " * node.start_mark.column
        before = "" if self._text[:at].endswith("\n") else "\n"
        return _Edit(at, at, before + "".join(f"{indent}{pair}\n" for pair in pairs))

    def _line_of(self, index: int) -> int:
        """Where the line begins."""
        return self._text.rfind("\n", 0, index) + 1

    def _line_behind(self, index: int) -> int:
        """Where the next line begins."""
        return found + 1 if (found := self._text.find("\n", index)) >= 0 else len(self._text)


def _end_of(node: yaml.Node) -> int:
    """Where a node ends. PyYAML's mark of a block lies behind the comments that follow it."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end_of(last[1] if isinstance(node, yaml.MappingNode) else last)


def _same_data(one: Any, other: Any) -> bool:
    """Whether two values are the same; 1 and 1.0 are, and 1 and true are not."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same_data(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_data, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and one == other
