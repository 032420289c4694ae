"""The number of threads must not show in results."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from loramerge.numerics.memory import keep_freed_memory

if TYPE_CHECKING:
    from typing_extensions import Self

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside a `with`: sums that are split among threads are rounded in another order.

    Torch's products of matrices differ between two and four threads, its sums between one and two (2.13 on x86-64).
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """How many cores to compute on: those that this process may use, and no more than OMP_NUM_THREADS says."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, wanted_threads() or there)


def wanted_threads() -> int | None:
    """What OMP_NUM_THREADS says, where it says a number."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return (int(said) or None) if re.fullmatch("[0-9]{1,9}", said) else None


def workers(count: int | None = None) -> Executor:
    """Workers that compute on one thread each: modules side by side, the same bytes for any number of workers.

    Args:
        count: How many; by default one for each of `cores`. A single one is this thread, which waits for nobody.
    """
    import torch

    keep_freed_memory()
    count = count or cores()
    if count == 1:
        return _Here()
    # OpenMP keeps its number of threads per thread, so each worker has to be told.
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


class _Here(Executor):
    """Computes what it is given, on one thread, before it is asked for it."""

    def __enter__(self) -> Self:
        self._one = one_thread()
        self._one.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._one.__exit__(None, None, None)

    def submit(self, fn: Callable[..., _Made], /, *args: Any, **kwargs: Any) -> Future[_Made]:
        found: Future[_Made] = Future()
        try:
            found.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  whoever asks for the result gets it
            found.set_exception(error)
        return found


def in_order(
    pool: Executor, function: Callable[[_Given], _Made], items: Iterable[_Given], *, ahead: int
) -> Iterator[_Made]:
    """The results of a function in the order of its items, of which no more than `ahead` are worked on or waiting."""
    waiting: deque[Future[_Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
