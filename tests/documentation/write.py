"""Writes the pages, and parts of pages, that come from the code.

python tests/documentation/write.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT / "tests"))

from documentation.commands_page import commands_page, exit_codes_page  # noqa: E402 - it lies beside this file
from documentation.families_page import families_page  # noqa: E402
from documentation.output_page import output_page  # noqa: E402
from documentation.parts import combination_types, refused  # noqa: E402
from documentation.recipe_page import recipe_keys, recipe_page  # noqa: E402
from marked import inserted  # noqa: E402

PAGES: Mapping[str, Callable[[str], str]] = {
    "reference/commands.md": lambda _: commands_page(),
    "reference/exit-codes.md": lambda _: exit_codes_page(),
    "reference/output.md": lambda _: output_page(),
    "reference/recipe.md": lambda _: recipe_page(),
    "families.md": lambda _: families_page(),
    "methods.md": lambda text: inserted(text, "types", combination_types()),
    "../README.md": lambda text: inserted(text, "keys", recipe_keys()),
    "formats.md": lambda text: inserted(text, "refused", refused()),
}
"""By name, from docs/: what the page should be, given what it is."""


def main() -> None:
    """Write what differs, and say so."""
    for name, made in PAGES.items():
        path = DOCS / name
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        after = made(before)
        if after != before:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(after, encoding="utf-8", newline="\n")
            print(f"wrote {path.resolve().relative_to(ROOT)}")


if __name__ == "__main__":
    main()
