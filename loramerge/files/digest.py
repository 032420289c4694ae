"""Digests of files, read in pieces."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from loramerge.files.reading import open_file

_PIECE = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with open_file(path) as file:
        return sha256_in(file)


def sha256_in(file: BinaryIO) -> str:
    """SHA-256 of an open file, 64 hex digits; what grows while it is read is left where it was when it was opened."""
    digest, left = hashlib.sha256(), os.fstat(file.fileno()).st_size
    while left and (piece := file.read(min(left, _PIECE))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()


@dataclass(frozen=True)
class FileDigest:
    """What a file's content is known by: size in bytes and SHA-256, 64 hex digits."""

    size: int
    sha256: str


def git_blob_of(path: Path) -> str:
    """The id that git gives to a file's content: SHA-1 over a header and the bytes, 40 hex digits."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open_file(path) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def files_of(folder: Path) -> dict[str, Path]:
    """Every file below a folder by its '/'-separated name, sorted; empty where there is no such folder."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return dict(sorted(found.items()))
