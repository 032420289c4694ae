"""Too little memory, told apart from defects, with what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loramerge.errors import LoramergeError
from loramerge.messages import by

if TYPE_CHECKING:
    from loramerge.recipe import Preview

# What torch's and oneDNN's CPU allocators raise is a plain RuntimeError; torch.OutOfMemoryError is one, too.
_SIGNS = ("allocate memory", "out of memory", "bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


class MemoryShortageError(LoramergeError):
    """The pictures take more memory than there is."""


@contextmanager
def naming_shortage(preview: Preview, size: tuple[int, int], device: str) -> Iterator[None]:
    """Say what to lower where the block runs out of memory.

    Raises:
        MemoryShortageError: It did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_shortage(error):
            raise
        where = "on the CUDA device " if device == "cuda" else ""
        at_once = f", {preview.batch_size} at once," if preview.batch_size > 1 else ""
        raise MemoryShortageError(
            f"preview: there is not enough memory {where}for pictures of {by(size)} pixels{at_once} "
            f"with preview.memory: {preview.memory}",
            hint=", or ".join(_remedies(preview, size, device)),
        ) from None


def _is_shortage(error: BaseException) -> bool:
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(sign in str(error) for sign in _SIGNS)


def _remedies(preview: Preview, size: tuple[int, int], device: str) -> Iterator[str]:
    if preview.batch_size > 1:
        yield f"lower preview.batch_size from {preview.batch_size}"
    if device == "cuda" and preview.memory in ("auto", "full"):
        yield "set preview.memory: offload"
    elif preview.memory != "tiled":
        yield "set preview.memory: tiled"
    yield f"lower preview.width and preview.height from {by(size)}"
    if device == "cuda":
        yield "use --device cpu"
