"""A hook of MkDocs: files of the repository that pages link to as `../NAME` become part of the site.

So the same links work on GitHub, in an editor and in the site, and `mkdocs build --strict` finds those that do not.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import normpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
BROUGHT = (
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "action.yml",
    "constraints.txt",
    "Containerfile",
    "recipes/*.yaml",
    "schemas/*.json",
)
_LINK = re.compile(r"(?<=\]\()(\.\./)+(?=[^)]+\))")


def on_files(files: Files, config: Any) -> Files:
    """Add them, at the place that they have in the repository."""
    for pattern in BROUGHT:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """In the site docs/ and the repository's top are one folder."""
    if page.file.src_uri in BROUGHT:
        return markdown.replace("](docs/", "](")
    folder = Path(page.file.src_uri).parent

    def inside(link: re.Match[str]) -> str:
        up = normpath((Path("docs") / folder / link[0]).as_posix())
        return "../" * len(folder.parts) if up == "." else link[0]

    return _LINK.sub(inside, markdown)
