"""Files that are read, and errors that name them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loramerge.errors import SourceError


@contextmanager
def reading(shown: str) -> Iterator[None]:
    """Name the file that the block reads, where that fails.

    Args:
        shown: What errors call it.

    Raises:
        SourceError: For an OSError of the block.
    """
    try:
        yield
    except OSError as error:
        raise SourceError(f"{shown} can't be read: {error.strerror or error}") from None


def read_json(path: Path, shown: str) -> dict[str, Any]:
    """The JSON object that a file holds.

    Args:
        path: UTF-8.
        shown: What errors call it.

    Raises:
        SourceError: It can't be read, or holds anything else; names the line where JSON ends.
    """
    with reading(shown):
        data = path.read_bytes()
    try:
        value = json.loads(data.decode())
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        where = f"line {line}: it is not UTF-8"
    except RecursionError:
        where = "it is nested too deeply"
    except ValueError as error:  # a number of more digits than Python takes
        where = str(error)
    else:
        if isinstance(value, dict):
            return value
        where = f"it is a {type(value).__name__}"
    raise SourceError(f"{shown} should be a JSON object; {where}", hint="fetch it again")
