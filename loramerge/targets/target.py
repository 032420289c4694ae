"""What every target answers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Receipt:
    """What publishing to a target did.

    Attributes:
        place: Where the files are now.
        changed: Whether anything had to be written.
        url: Where to look at them, or at the pull request that proposes them.
        commit: The 40-hex commit that has them, for a target that has commits.
    """

    place: str
    changed: bool
    url: str | None = None
    commit: str | None = None
