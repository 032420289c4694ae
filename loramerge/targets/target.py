"""What every target answers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Receipt:
    """What publishing to a target did.

    Attributes:
        place: Where the files are now.
        changed: Whether anything had to be written.
    """

    place: str
    changed: bool
