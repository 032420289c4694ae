"""Which blocks a key such as `12` or `0-9` means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

PATTERN = r"^(0|[1-9][0-9]{0,4})(-(0|[1-9][0-9]{0,4}))?$"
IN_WORDS = "a block or a range of blocks, such as '12' or '0-9'"


def is_range(key: object) -> bool:
    """Whether a key is of this form."""
    return isinstance(key, str) and re.match(PATTERN, key) is not None


def numbers(key: str) -> range:
    """The blocks that a key means, both ends included; empty where the first comes after the last.

    Args:
        key: One that fits `PATTERN`.

    Raises:
        ValueError: It does not.
    """
    if not is_range(key):
        raise ValueError(f"{key!r} is not {IN_WORDS}")
    first, _, last = key.partition("-")
    return range(int(first), int(last or first) + 1)


def problems(keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The keys that mean no block, or blocks that another one means already, and why.

    Args:
        keys: Those that fit `PATTERN`, in their order.
    """
    taken: list[tuple[str, range]] = []
    for key in keys:
        found = numbers(key)
        if not found:
            first, _, last = key.partition("-")
            yield key, f"{first} comes after {last}; write {last}-{first}"
        for other, range_ in taken:
            if found.start < range_.stop and range_.start < found.stop:
                both = shown((max(found.start, range_.start), min(found.stop, range_.stop) - 1))
                yield key, f"{both} is in {other!r} as well; a block has one weight"
                break
        taken.append((key, found))


def shown(ends: tuple[int, int]) -> str:
    """`0-9`, or `12` for a range of one."""
    return "-".join(map(str, dict.fromkeys(ends)))


def runs(found: Iterable[int]) -> list[str]:
    """Numbers as the fewest ranges: `0-9`, `12`."""
    ends: list[tuple[int, int]] = []
    for number in sorted(found):
        if ends and ends[-1][1] == number - 1:
            ends[-1] = (ends[-1][0], number)
        else:
            ends.append((number, number))
    return [shown(each) for each in ends]
