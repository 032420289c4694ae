"""Files that are hashed in the pass in which their tensors are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING

from loramerge.files.passing_digest import PassingDigest

if TYPE_CHECKING:
    from typing_extensions import Self

    from loramerge.files.file_view import FileBytes
    from loramerge.tensor_files.header import Stored


class Passing:
    """Those files of which nobody knows the digest, and whose tensors come in the order in which they lie there.

    Whoever reads a block hashes it at once, while it is in the core's cache. Blocks are read side by side, and wait for
    their turn. Leaving the context ends all waiting.

    Args:
        tensors: In the order in which they are read.
        places: The files.

    Raises:
        SourceError: One can't be read, or is no longer what it was.
    """

    def __init__(self, tensors: Iterable[Stored], places: Mapping[Path, FileBytes]) -> None:
        ends: dict[Path, int] = {}
        turned: set[Path] = set()
        for stored in tensors:
            if stored.offset < ends.get(stored.path, 0):
                turned.add(stored.path)
            ends[stored.path] = stored.offset + stored.size
        hashed = [path for path in ends if path not in turned and places[path].known_digest() is None]
        self._digests = {path: PassingDigest(places[path]) for path in hashed}
        self._turn = Condition()
        self._next = 0
        self._left = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._turn:
            self._left = True
            self._turn.notify_all()

    def passed(self, number: int, path: Path, data: memoryview, offset: int) -> None:
        """Take in a block, when all before it were taken in.

        Args:
            number: Of the block; they are counted over all files, from 0.
            path: Its file, of these or another one.
            data: As it lies there.
            offset: Where it begins there.

        Raises:
            SourceError: What lies before it, and is no tensor, can't be read, or the file is no longer what it was.
        """
        if not self._digests:
            return
        with self._turn:
            self._turn.wait_for(lambda: self._next == number or self._left)
            if self._left:
                return
        if digest := self._digests.get(path):
            digest.passed(data, offset)
        with self._turn:
            self._next += 1
            self._turn.notify_all()

    def settled(self) -> None:
        """Nothing passes any more: from now on the program knows what the files are.

        Raises:
            SourceError: One can't be read, or is no longer what it was.
        """
        for digest in self._digests.values():
            digest.settled()
