"""One stretch of a tensor: base plus LoRA, rounded once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from loramerge.errors import LoramergeError
from loramerge.tensor_files.header import torch_dtype
from loramerge.tensor_files.rounding_loss import SMALL, largest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from loramerge.adapter import LowRank
    from loramerge.tensor_files.fuse_plan import TensorChange
    from loramerge.tensor_files.rounding_loss import RoundingLoss


def add(
    change: TensorChange,
    first: int,
    count: int,
    read: memoryview,
    made: memoryview,
    loss: RoundingLoss | None = None,
) -> None:
    """Add the LoRA's share to consecutive elements, in float32 (float64 for what is stored so), and round once.

    Args:
        change: Has what is added, and both number formats.
        first: Which of the tensor's elements comes first; the beginning of a row, if something is added.
        count: Number of elements; whole rows, if something is added.
        read: Begins with the elements as they are stored.
        made: Gets them as they are written; may be the same memory.
        loss: Told of sums that are rounded to 8 bits.

    Raises:
        LoramergeError: A result is more than its number format can hold.
    """
    import torch

    before = torch.frombuffer(read, dtype=torch_dtype(change.stored.dtype), count=count)
    after = torch.frombuffer(made, dtype=torch_dtype(change.dtype), count=count)
    exact = torch.float64 if change.stored.dtype == "F64" else torch.float32
    summed = _scratch("sum", count, exact).copy_(before)
    delta = _added(change, first, count, exact)
    if delta is not None:
        summed.add_(delta)
    after.copy_(summed)
    # Rounding keeps the order: if the least and the greatest stay finite, all do.
    if not _held(torch.stack(torch.aminmax(summed)), after.dtype).all():
        _check_sum(change, summed, delta, after)
    if loss is not None and delta is not None and change.dtype in SMALL:
        loss.count(delta, summed, after)


def _added(change: TensorChange, first: int, count: int, exact: torch.dtype) -> Tensor | None:
    """What is added to the elements; None where that is nothing."""
    width = change.width
    start, stop = (first // width, (first + count) // width) if width else (0, 0)
    here = [(share, max(start, share.start), min(stop, share.stop)) for share in change.shares]
    here = [(share, low, high) for share, low, high in here if low < high]
    if not here:
        return None
    delta = _scratch("delta", count, exact)
    if sum(high - low for _, low, high in here) < stop - start:
        delta.zero_()
    for share, low, high in here:
        pair = _loaded(share.pair)
        skipped = share.row - share.start
        pair.rows_of_delta(low + skipped, high + skipped, delta.view(-1, width)[low - start : high - start])
    return delta


def _held(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Which values a number format can hold."""
    if dtype.itemsize == 1:
        return values.abs() <= largest(dtype)
    return values.to(dtype).isfinite()


def _check_sum(change: TensorChange, summed: Tensor, delta: Tensor | None, after: Tensor) -> None:
    """What the file itself has as infinite is the file's own affair."""
    before = summed if delta is None else summed - delta
    if bool((before.isfinite() & ~_held(summed, after.dtype)).any()) or (
        delta is not None and not delta.isfinite().all()
    ):
        what = "base plus LoRA is" if change.shares else "the base's values are"
        raise LoramergeError(
            f"{change.shown_as}: {what} more than {after.dtype} can hold".replace("torch.", ""),
            hint="lower lora_scale, or write the output with dtype: bfloat16 or float32",
        )


_of_thread = threading.local()


def _loaded(pair: LowRank) -> LowRank:
    """The pair in memory, where it stays until the thread's next one: a large tensor comes in many stretches."""
    known: tuple[LowRank, LowRank] | None = getattr(_of_thread, "pair", None)
    if known is None or known[0] is not pair:
        known = pair, pair.loaded()
        _of_thread.pair = known
    return known[1]


def _scratch(name: str, count: int, dtype: torch.dtype) -> Tensor:
    """Memory of the thread's own for results that do not leave it."""
    import torch

    name = f"{name} {dtype}"
    tensor: Tensor | None = getattr(_of_thread, name, None)
    if tensor is None or len(tensor) < count:
        tensor = torch.empty(count, dtype=dtype)
        setattr(_of_thread, name, tensor)
    return tensor[:count]
