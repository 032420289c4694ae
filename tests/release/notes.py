"""What a release says of itself: the section of CHANGELOG.md of its version.

    python tests/release/notes.py v0.1.0 [owner/name]

Ends with 1, and says why, where the tag is not the version of pyproject.toml, where CHANGELOG.md has no section of it
or an empty one, and where pyproject.toml names another repository than the one that releases.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SECTION = re.compile(r"^## (\S+)(?: - \d{4}-\d{2}-\d{2})?\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)


def version(folder: Path = ROOT) -> str:
    """The one place that says which version this is."""
    return re.findall(r'^version = "(.*)"$', (folder / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[0]


def sections(folder: Path = ROOT) -> dict[str, str]:
    """Version, or Unreleased → what changed, in the order of CHANGELOG.md."""
    text = (folder / "CHANGELOG.md").read_text(encoding="utf-8")
    return {name: body.strip() for name, body in _SECTION.findall(text)}


def notes(tag: str, repository: str | None = None, folder: Path = ROOT) -> str:
    """What changed in a version.

    Args:
        tag: Such as v0.1.0.
        repository: Where it is released, such as owner/name.
        folder: With pyproject.toml and CHANGELOG.md.

    Raises:
        ValueError: It can't be released like this.
    """
    current = version(folder)
    if tag != f"v{current}":
        raise ValueError(f"the tag is {tag}, and pyproject.toml has version {current}; expected the tag v{current}")
    if not (body := sections(folder).get(current)):
        raise ValueError(f"CHANGELOG.md says nothing of {current}: call its section ## {current} - YYYY-MM-DD")
    address = f"https://github.com/{repository}"
    named = re.findall(r"https://(?:github|raw\.githubusercontent)\.com/([\w.-]+/[\w.-]+)", _project(folder))
    if repository and (wrong := {*named} - {repository}):
        raise ValueError(f"pyproject.toml leads to {', '.join(sorted(wrong))}; expected {address} everywhere")
    return body


def _project(folder: Path) -> str:
    return (folder / "pyproject.toml").read_text(encoding="utf-8")


if __name__ == "__main__":
    try:
        print(notes(*sys.argv[1:3]))
    except ValueError as error:
        sys.exit(f"error: {error}")
