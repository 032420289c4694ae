"""The number of threads must not show in results."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from loramerge.numerics.memory import keep_freed_memory

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
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(there, int(said)) if said.isdecimal() and int(said) else there


def workers(count: int | None = None) -> ThreadPoolExecutor:
    """Workers that compute on one thread each: modules side by side, the same bytes for any number of workers.

    Args:
        count: How many; by default one for each of `cores`.
    """
    import torch

    keep_freed_memory()
    # OpenMP keeps its number of threads per thread, so each worker has to be told.
    return ThreadPoolExecutor(count or cores(), initializer=torch.set_num_threads, initargs=(1,))


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[_Given], _Made], items: Iterable[_Given], *, ahead: int
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
