"""Files that are about to be written, in one or several variants of the same tensors."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from loramerge.tensor_files.header import header
from loramerge.tensor_files.write_behind import SteadyWriter

if TYPE_CHECKING:
    from typing_extensions import Self

    from loramerge.tensor_files.fuse_plan import TensorChange
    from loramerge.tensor_files.rounding_loss import RoundingLoss

METADATA: Mapping[str, str] = MappingProxyType({"format": "pt"})
"""Without which transformers refuses a file."""


@dataclass(frozen=True)
class NewFile:
    """A file that is about to be written.

    Attributes:
        path: Where to; its folder exists when it is written.
        changes: What it holds, in this order.
        metadata: What it says of itself.
    """

    path: Path
    changes: Sequence[TensorChange]
    metadata: Mapping[str, str] = field(default_factory=lambda: METADATA)

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(change.size for change in self.changes)


@dataclass(frozen=True)
class Variant:
    """What becomes of tensors in one output.

    Attributes:
        files: Of which it consists.
        loss: Told of sums that are rounded to 8 bits.
    """

    files: Sequence[NewFile]
    loss: RoundingLoss | None = None

    @property
    def changes(self) -> list[TensorChange]:
        """Of all files, in their order."""
        return [change for file in self.files for change in file.changes]


class Sink:
    """The files of a variant, written one after the other.

    Args:
        variant: What they hold.
    """

    def __init__(self, variant: Variant) -> None:
        self.digests: list[Any] = []
        self._files = deque(variant.files)
        self._left = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def write(self, data: memoryview) -> int:
        """Append bytes that lie in one file, and say in which."""
        while not self._left:
            self._next()
        self._writer.write(data)
        self._writer.let_go()  # here, for the file may be closed when another thread comes to it
        self._left -= len(data)
        return len(self.digests) - 1

    def finish(self) -> None:
        """Write the files that have a header alone, and close the last."""
        while self._files:
            self._next()
        self._open.close()

    def _next(self) -> None:
        self._open.close()
        file = self._files.popleft()
        start = header(
            ((each.stored.key, each.dtype, each.stored.shape, each.size) for each in file.changes), file.metadata
        )
        self.digests.append(hashlib.sha256(start))
        self._writer = SteadyWriter(self._open.enter_context(file.path.open("wb")))
        self._writer.write(start)
        self._left = file.size
