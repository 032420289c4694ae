"""Makes the pictures of the README and of docs/ from what `make quickstart` left.

The heat maps are the report's, in a real Chromium.

python tests/pictures.py [--artifact dist/quickstart] [--to docs/pictures]
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import browser
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
WIDTH = 100  # characters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifact", type=Path, default=ROOT / "dist" / "quickstart")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "pictures")
    arguments = parser.parse_args()
    shutil.copy(arguments.artifact / "preview" / "preview.png", arguments.to / "quickstart.png")
    terminal(arguments.to / "terminal.svg")
    heat_map(arguments.artifact / "report.html", arguments.to / "overlap.png")


def terminal(path: Path) -> None:
    """What a terminal shows of two LoRAs that are compared before they are merged."""
    loras = [f"recipes/quickstart/{name}.safetensors" for name in ("glow", "paper")]
    shown = f"$ loramerge inspect {' '.join(loras)}"
    command = [sys.executable, "-m", "loramerge", "inspect", *loras, "--base", "recipes/quickstart/base"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    overlap = done.stdout[done.stdout.index("overlap of") :]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"{shown} --base recipes/quickstart/base\n…\n{overlap}".rstrip()))
    drawn = console.export_svg(title="loramerge", unique_id="terminal")
    # Its fonts would be fetched from elsewhere; any monospaced one will do.
    path.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


def heat_map(page: Path, path: Path) -> None:
    """The report's comparison of the two LoRAs, as it is seen."""
    program = browser.program()
    if program is None:
        sys.exit(f"the heat map needs a Chromium: none of {', '.join(browser.NAMES)} is on PATH; {path} stays as it is")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=browser.ARGUMENTS)
        opened = chromium.new_page(viewport={"width": 1000, "height": 800}, color_scheme="light")
        opened.goto(page.resolve().as_uri())
        opened.locator("section[aria-labelledby=overlap] figure").first.locator("xpath=..").screenshot(path=path)
        chromium.close()


if __name__ == "__main__":
    main()
