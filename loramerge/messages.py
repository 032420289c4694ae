"""How messages put lists, shapes, numbers of things and long texts, and what they tell apart."""

import re
from collections.abc import Iterable, Sequence
from unicodedata import category

_SPECIAL = re.compile(r"[^\n\t -~]")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_JOINERS = "\u200c\u200d"
"""Without which words of some scripts, and some emoji, fall apart."""
_LONGEST_WORD = 300
"""Characters: of paths and addresses more than are ever needed to know them again."""
_LONGEST_LINE = 1200
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def some(names: Iterable[str], most: int = 3) -> str:
    """The first few of many names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def any_of(words: Iterable[str]) -> str:
    """`a`, `a or b`, `a, b or c`; empty for none."""
    names = list(words)
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def all_of(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`; empty for none."""
    names = list(words)
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def by(shape: Sequence[int]) -> str:
    """A shape as `320×768`."""
    return "×".join(map(str, shape))


def counted(number: int, noun: str) -> str:
    """`1 key`, `2 keys`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def bounded(text: str) -> str:
    """A message that quotes what it was given: words and lines that would fill the screen are cut in their middle."""
    words = re.sub(rf"\S{{{_LONGEST_WORD + 1},}}", lambda word: _cut(word[0], _LONGEST_WORD), text)
    return "\n".join(_cut(line, _LONGEST_LINE) for line in words.split("\n"))


def is_address(text: str) -> bool:
    """Whether a text is an address, such as `hf://…`, where a place on this machine may be wanted."""
    return bool(_ADDRESS.match(text))


def excerpt(text: str, most: int = 100) -> str:
    """The text on one line, cut off where it gets long."""
    return shortened(" ".join(text.split()), most)


def shortened(text: str, most: int) -> str:
    """The text, cut off where it gets longer than so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def visible(text: str) -> str:
    r"""The text with what steers whoever shows it as an escape, such as `\u202e`.

    Control characters, marks of the direction of writing, blanks of no width and halves of surrogate pairs: strangers
    can write with them what nobody sees, or something else than what is seen.
    """
    return _SPECIAL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character in _JOINERS or category(character) not in _UNSEEN:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004  as Python, YAML and JSON spell it


def _cut(text: str, most: int) -> str:
    tail = most // 4
    return text if len(text) <= most else f"{text[: most - tail - 1]}…{text[-tail:]}"
