r"""The patterns of an adapter_config.json, matched in bounded time.

PEFT takes them for regular expressions. They come from strangers, and a regular expression can keep a matcher busy for
ever. So the forms that name modules are read here: letters, `.`, classes such as `[0-9]` and `\d`, each with `*`, `+`
or `?`, alternatives in groups, `^` and `$`. All places where a match could be are followed at once (Thompson, Regular
Expression Search Algorithm, 1968): the time is at most the pattern's length times the name's.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

_SPECIAL = set("*+?{}[]()|^$.\\")
_CLASSES = {"d": set(string.digits), "w": {*string.ascii_letters, *string.digits, "_"}}
_MOST_DEEP = 20


@dataclass(frozen=True)
class _Atom:
    """One character out of several, or any; at least `least` times, and any number of times if `repeats`."""

    characters: frozenset[str] | None
    least: int = 1
    repeats: bool = False

    @property
    def width(self) -> int | None:
        """How many characters it takes; None if that differs."""
        return 1 if self.least == 1 and not self.repeats else None

    def after(self, name: str, places: set[int]) -> set[int]:
        """Where a match that came to these places can be after this."""
        found = set(places) if self.least == 0 else set()
        while places:
            places = {place + 1 for place in places if place < len(name) and self._takes(name[place])} - found
            found |= places
            if not self.repeats:
                break
        return found

    def _takes(self, character: str) -> bool:
        return self.characters is None or character in self.characters


@dataclass(frozen=True)
class _Letters:
    """Characters one after the other, each once: most of any pattern, so they are compared in one step."""

    text: str

    @property
    def width(self) -> int:
        """How many there are."""
        return len(self.text)

    def after(self, name: str, places: set[int]) -> set[int]:
        """Where a match that came to these places can be after this."""
        return {place + len(self.text) for place in places if name.startswith(self.text, place)}


@dataclass(frozen=True)
class _Edge:
    """`^` or `$`: the beginning or the end of the name."""

    is_end: bool
    width = 0

    def after(self, name: str, places: set[int]) -> set[int]:
        """Where a match that came to these places can be after this."""
        return places & {len(name) if self.is_end else 0}


@dataclass(frozen=True)
class _Group:
    """One of several."""

    alternatives: tuple[tuple[_Part, ...], ...]

    @cached_property
    def width(self) -> int | None:
        """How many characters each of them takes; None if that differs."""
        widths = {_sum([part.width for part in parts]) for parts in self.alternatives}
        return widths.pop() if len(widths) == 1 else None

    def after(self, name: str, places: set[int]) -> set[int]:
        """Where a match that came to these places can be after this."""
        found: set[int] = set()
        for parts in self.alternatives:
            reached = places
            for part in parts:
                reached = part.after(name, reached)
                if not reached:
                    break
            found |= reached
        return found


_Part = _Atom | _Letters | _Edge | _Group


def _sum(widths: Sequence[int | None]) -> int | None:
    known = [width for width in widths if width is not None]
    return sum(known) if len(known) == len(widths) else None


class ModulePattern:
    """A pattern for names of modules.

    Args:
        text: As in `rank_pattern` or `alpha_pattern`.

    Raises:
        ValueError: It is of none of the forms that are read; the message says which part.
    """

    def __init__(self, text: str) -> None:
        self._group = _Parser(text).parsed()

    def matches(self, name: str) -> bool:
        r"""Whether the name, or what follows one of its dots, is what the pattern says.

        That is PEFT's `re.match(rf"(.*\\.)?({pattern})$", name)` (peft/utils/other.py, get_pattern_key).
        """
        width = self._group.width
        if width is None:
            starts = {0, *(place + 1 for place, character in enumerate(name) if character == ".")}
        else:  # as nearly all are: one place is left to look at
            start = len(name) - width
            if start < 0 or (start > 0 and name[start - 1] != "."):
                return False
            starts = {start}
        return len(name) in self._group.after(name, starts)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._place = text, 0

    def parsed(self) -> _Group:
        group = self._alternatives(0)
        if self._place < len(self._text):
            raise ValueError("a ')' without its '('")
        return group

    def _next(self) -> str:
        return self._text[self._place : self._place + 1]

    def _take(self) -> str:
        self._place += 1
        return self._text[self._place - 1 : self._place]

    def _alternatives(self, depth: int) -> _Group:
        if depth > _MOST_DEEP:
            raise ValueError("groups within groups")
        found = [tuple(_joined(self._parts(depth)))]
        while self._next() == "|":
            self._take()
            found.append(tuple(_joined(self._parts(depth))))
        return _Group(tuple(found))

    def _parts(self, depth: int) -> Iterator[_Part]:
        while (character := self._next()) not in ("", "|", ")"):
            self._take()
            if character in "^$":
                yield _Edge(is_end=character == "$")
            elif character == "(":
                yield self._grouped(depth)
            else:
                yield self._counted(self._characters(character))

    def _grouped(self, depth: int) -> _Group:
        if self._next() == "?":
            self._take()
            if (kind := self._take()) != ":":
                raise ValueError(f"(?{kind}…)")
        group = self._alternatives(depth + 1)
        if self._take() != ")":
            raise ValueError("a '(' without its ')'")
        if self._next() in ("*", "+", "?", "{"):
            raise ValueError("a group that repeats")
        return group

    def _counted(self, characters: frozenset[str] | None) -> _Atom | _Letters:
        count = self._next()
        if count == "{":
            raise ValueError("a count in braces")
        if count not in ("*", "+", "?"):
            return _Letters(*characters) if characters and len(characters) == 1 else _Atom(characters)
        self._take()
        if self._next() == "?":  # as little as can be is the same where the whole name has to match
            self._take()
        if self._next() in ("*", "+", "?"):
            raise ValueError("a repetition that repeats")
        return _Atom(characters, least=int(count == "+"), repeats=count != "?")

    def _characters(self, character: str) -> frozenset[str] | None:
        if character == ".":
            return None
        if character == "\\":
            escaped = self._take()
            if escaped in _CLASSES:
                return frozenset(_CLASSES[escaped])
            if not escaped or escaped.isalnum():
                raise ValueError(f"\\{escaped}")
            return frozenset(escaped)
        if character == "[":
            return self._class()
        if character in _SPECIAL:
            raise ValueError(f"{character!r} where nothing stands before it")
        return frozenset(character)

    def _class(self) -> frozenset[str]:
        end = self._text.find("]", self._place)
        inside = self._text[self._place : end]
        if end < 0 or not inside or inside[0] == "^" or "\\" in inside or "[" in inside:
            raise ValueError("a class of characters other than such as [0-9] or [qkv]")
        self._place = end + 1
        found: set[str] = set()
        while inside:
            first, last = inside[0], inside[2] if inside[1:2] == "-" and inside[2:] else inside[0]
            found |= {chr(code) for code in range(ord(first), ord(last) + 1)}
            inside = inside[3:] if last != first or (inside[1:2] == "-" and inside[2:]) else inside[1:]
        return frozenset(found)


def _joined(parts: Iterable[_Part]) -> Iterator[_Part]:
    """The same parts, with letters that follow each other in one piece."""
    text = ""
    for part in parts:
        if isinstance(part, _Letters):
            text += part.text
            continue
        if text:
            yield _Letters(text)
        text = ""
        yield part
    if text:
        yield _Letters(text)
