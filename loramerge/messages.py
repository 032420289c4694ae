"""How messages put lists and shapes."""

from collections.abc import Iterable, Sequence


def some(names: Iterable[str], most: int = 3) -> str:
    """The first few of many names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def by(shape: Sequence[int]) -> str:
    """A shape as `320×768`."""
    return "×".join(map(str, shape))


def counted(number: int, noun: str) -> str:
    """`1 key`, `2 keys`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def excerpt(text: str, most: int = 60) -> str:
    """The text, cut off where it gets long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
