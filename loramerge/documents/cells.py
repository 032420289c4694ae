"""`FILE#NAME`: one of the recipes that a file with a matrix stands for."""

from __future__ import annotations

import os

from loramerge.documents.mistaken import RECIPES

_MARK = "#"


def cell(file: str, name: str) -> str:
    """What one of a file's recipes is called."""
    return f"{file}{_MARK}{name}"


def file_and_name(path: str) -> tuple[str, str | None]:
    """The file, and the name of the one recipe that is meant; None where all are, or a file is called so."""
    file, mark, name = path.rpartition(_MARK)
    is_file = file == "-" or file.endswith(RECIPES) or os.path.lexists(file)
    if not mark or not name or not is_file or os.path.lexists(path):
        return path, None
    return file, name
