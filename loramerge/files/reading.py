"""The one door to files that are read: each is a plain file, and no larger than it may be.

What is no plain file, such as a named pipe or a device, may keep its reader waiting, or never end.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from loramerge.errors import SourceError
from loramerge.files.kinds import special
from loramerge.files.lfs import refuse_pointer

LARGEST = 64 << 20
"""Bytes of a file that is taken into memory as a whole: configs, papers, state, pictures."""
_MIB = 1 << 20


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


def open_file(path: Path, *, pipes: bool = False) -> BinaryIO:
    """Open a plain file, unbuffered. Nothing is waited for.

    Args:
        path: The file.
        pipes: Take a pipe as well, as a shell's `<(…)` is one; if nobody writes to it, it is empty.

    Raises:
        OSError: It is missing, unreadable, or no plain file.
    """
    _refuse_what_has_no_end(path.stat().st_mode, path, pipes=pipes)  # before it is opened: some devices act on that
    waits = getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, os.O_RDONLY | waits | getattr(os, "O_BINARY", 0))
    try:
        _refuse_what_has_no_end(os.fstat(descriptor).st_mode, path, pipes=pipes)
        if waits:
            os.set_blocking(descriptor, True)
        return open(descriptor, "rb", buffering=0)  # noqa: PTH123  the caller closes it
    except BaseException:  # whatever it is, nobody else knows the descriptor
        os.close(descriptor)
        raise


def read_at(path: Path, buffer: memoryview, offset: int) -> tuple[bool, os.stat_result]:
    """Fill a buffer from a file that was seen to be a plain one. Nothing is waited for.

    Args:
        path: The file.
        buffer: Where its bytes go.
        offset: Of the first of them.

    Returns:
        Whether the file has so many, and what it is, as the system says after it was read.

    Raises:
        OSError: It is missing or unreadable.
    """
    with open(path, "rb", buffering=0, opener=_opened_at_once) as file:
        file.seek(offset)
        return filled(file, buffer), os.fstat(file.fileno())


def filled(file: Any, buffer: memoryview) -> bool:
    """Fill a buffer from an unbuffered file; False where it ends before."""
    found = 0
    while found < len(buffer) and (more := file.readinto(buffer[found:])):
        found += more
    return found == len(buffer)


def content_of(path: Path, *, most: int = LARGEST, pipes: bool = False) -> bytes:
    """All of a file.

    Args:
        path: The file.
        most: Bytes that it may have.
        pipes: As for `open_file`.

    Raises:
        OSError: It is missing, unreadable, no plain file, or larger.
    """
    content = beginning_of(path, most + 1, pipes=pipes)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most // _MIB} MiB", str(path))
    return content


def beginning_of(path: Path, most: int, *, pipes: bool = False) -> bytes:
    """As many bytes of a file, or all that it has.

    Raises:
        OSError: As for `open_file`.
    """
    with open_file(path, pipes=pipes) as file:
        found = bytearray()
        while len(found) < most and (piece := file.read(min(most - len(found), _MIB))):
            found += piece
    return bytes(found)


def text_of(path: Path, *, most: int = LARGEST, errors: str = "strict") -> str:
    """All of a UTF-8 file, its lines ending in a line feed.

    Args:
        path: The file.
        most: Bytes that it may have.
        errors: As for `bytes.decode`.

    Raises:
        OSError: As for `content_of`.
        UnicodeDecodeError: It is no UTF-8.
    """
    return content_of(path, most=most).decode("utf-8", errors).replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, shown: str) -> dict[str, Any]:
    """The JSON object that a file holds.

    Args:
        path: UTF-8.
        shown: What errors call it.

    Raises:
        SourceError: It can't be read, or holds anything else; names the line where JSON ends.
    """
    with reading(shown):
        data = content_of(path)
    refuse_pointer(data, len(data), shown)
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


def _opened_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _refuse_what_has_no_end(mode: int, path: Path, *, pipes: bool) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    what = special(mode)
    if what and not (pipes and stat.S_ISFIFO(mode)):
        raise OSError(errno.EINVAL, f"it is {what}, and only plain files are read", str(path))
