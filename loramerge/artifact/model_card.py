"""A model card has two authors: what we write lies between two marks, and all else is its owner's.

The first mark repeats our keys of the front matter, so that our card can be told, to the byte, from what somebody else
wrote into it.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

_FRONT = re.compile(r"\A---[ \t]*\n(.*?\n)?---[ \t]*(?:\n|\Z)", re.DOTALL)
_KEY = re.compile(r"^(?P<quote>[\"']?)(?P<key>[A-Za-z0-9_.-]+)(?P=quote)[ \t]*:", re.MULTILINE)
_BEGIN = "<!-- loramerge {id}: every publish writes what is between these marks anew, and these keys above\n{keys}-->"
_END = "<!-- loramerge {id}: end -->"
_BEGINS = re.compile(r"<!-- loramerge (?P<id>[0-9a-f]{16}): every [^\n]*\n(?P<keys>[^>]*)-->")
_MOST = 1 << 20
"""Characters of a card; one that is longer is not taken apart."""
_LONGEST_NUMBER = 1000  # characters


def written(front: str, body: str) -> str:
    """Our card, before anybody else writes into it.

    Args:
        front: The lines of the front matter: YAML, one mapping in block style.
        body: What follows, in Markdown.
    """
    front, body = front.strip("\n") + "\n", body.strip("\n")
    # No text can hold the digest of itself: nothing in the body is taken for the end.
    name = hashlib.sha256(f"{front}{body}".encode()).hexdigest()[:16]
    begin = _BEGIN.format(id=name, keys=html.escape(front, quote=False))
    return f"---\n{front}---\n\n{begin}\n\n{body}\n\n{_END.format(id=name)}\n"


def ours_in(text: str) -> str | None:
    """Our card as it was written, whatever its owner wrote beside it; None where it is not whole in there."""
    card = _Card.parse(text)
    return card.ours if card is not None and card.is_whole else None


def is_as_written(text: bytes, sha256: str) -> bool:
    """Whether a card has our part as we wrote it: a file of that digest, to which its owner may have added.

    Args:
        text: The file.
        sha256: Of our card, 64 hex digits.
    """
    return digest(text) == sha256 or hashlib.sha256(text).hexdigest() == sha256


def digest(text: bytes) -> str | None:
    """SHA-256 of our card as it was written; None where it is not whole in there."""
    try:
        ours = ours_in(text.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    return None if ours is None else hashlib.sha256(ours.encode()).hexdigest()


def merged(ours: str, theirs: str) -> str:
    """Our card, with all that the owner of an earlier one wrote into that.

    Args:
        ours: What is to be written. One without marks is taken as it is.
        theirs: What is there. Where our marks are missing in it, all of it is the owner's, and stays above ours. One
            whose front matter is no YAML, or that is longer than a mebibyte, is replaced.
    """
    card, there = _Card.parse(ours), _Card.parse(theirs)
    if card is None or there is None or not card.part:
        return ours
    before, after = there.before, there.after
    if not there.part:
        before, after = f"\n{before.strip()}\n\n" if before.strip() else "\n", "\n"
    return f"---\n{_front(card, there)}---\n{before}{card.part}{after}"


@dataclass(frozen=True)
class _Card:
    """A card in its parts.

    Attributes:
        front: Key → its lines in the front matter, with the comments below them; "" has what is above all keys.
        data: What the front matter says.
        before: What stands between the front matter and our part.
        part: Our part, with its marks; empty where there is none.
        keys: The lines of the front matter that the first mark repeats.
        after: What stands below our part.
    """

    front: Mapping[str, str]
    data: Mapping[str, Any]
    before: str
    part: str
    keys: str
    after: str

    @classmethod
    def parse(cls, text: str) -> _Card | None:
        """None where the front matter is none that can be taken apart."""
        text = text.replace("\r\n", "\n")
        if len(text) > _MOST:
            return None
        found = _FRONT.match(text)
        front = (found[1] or "") if found else ""
        body = text[found.end() :] if found else text
        data = _mapping(front)
        blocks = _lines_by_key(front)
        if data is None or data.keys() != blocks.keys() - {""}:
            return None
        for begin in _BEGINS.finditer(body):
            mark = _END.format(id=begin["id"])
            end = body.find(mark, begin.end())
            if end >= 0:
                end += len(mark)
                keys = html.unescape(begin["keys"])
                return cls(blocks, data, body[: begin.start()], body[begin.start() : end], keys, body[end:])
        return cls(blocks, data, body, "", "", "")

    @property
    def ours(self) -> str:
        return f"---\n{self.keys}---\n\n{self.part}\n"

    @property
    def said(self) -> Mapping[str, Any]:
        """What we said in the front matter."""
        return _mapping(self.keys) or {}

    @property
    def is_whole(self) -> bool:
        """Whether our part is there, and the front matter says what it said; lists may have more."""
        return bool(self.part) and all(
            key in self.data and _holds(self.data[key], value) for key, value in self.said.items()
        )


def _front(ours: _Card, theirs: _Card) -> str:
    """Our keys, and theirs that we do not set and did not set; lists of ours have their entries as well."""
    earlier, lines = theirs.said, [theirs.front.get("", "")]
    for key, block in ours.front.items():
        mine, there, was = ours.data.get(key), theirs.data.get(key), earlier.get(key)
        known = [*mine, *(was if isinstance(was, list) else ())] if isinstance(mine, list) else []
        more = [each for each in there if each not in known] if known and isinstance(there, list) else []
        lines.append(block + (_entries(more) if more else ""))
    lines += [block for key, block in theirs.front.items() if key and key not in ours.front and key not in earlier]
    return "".join(lines)


class _EntryDumper(yaml.SafeDumper):
    """Quotes the text that the Hub, which reads YAML 1.2, could take for something else."""

    def text(self, data: str) -> yaml.ScalarNode:
        style = None if data[:1].isalpha() else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_EntryDumper.add_representer(str, _EntryDumper.text)


def _entries(more: list[Any]) -> str:
    return yaml.dump(more, Dumper=_EntryDumper, allow_unicode=True, sort_keys=False)


def _holds(there: Any, ours: Any) -> bool:
    if isinstance(there, list) and isinstance(ours, list):
        return all(each in there for each in ours)
    return bool(there == ours)


def _mapping(front: str) -> dict[str, Any] | None:
    try:
        data = yaml.load(front, _FrontLoader)  # noqa: S506  a SafeLoader
        if data is None:
            return {}
        return {str(key): value for key, value in data.items()} if isinstance(data, dict) else None
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return None


class _FrontLoader(yaml.SafeLoader):
    """Refuses numbers that can't be written down again: Python reads hexadecimal ones of any length."""

    def whole_number(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > _LONGEST_NUMBER:
            raise ValueError("a number of too many digits")
        return int(self.construct_yaml_int(node))


_FrontLoader.add_constructor("tag:yaml.org,2002:int", _FrontLoader.whole_number)


def _lines_by_key(front: str) -> dict[str, str]:
    starts = [*_KEY.finditer(front)]
    ends = [*(each.start() for each in starts), len(front)][1:]
    blocks = {each["key"]: front[each.start() : end] for each, end in zip(starts, ends, strict=True)}
    above = front[: starts[0].start()] if starts else front
    return {"": above, **blocks} if above else blocks
