"""The number of threads must not show in results."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


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


def workers(count: int | None = None) -> ThreadPoolExecutor:
    """Workers that compute on one thread each: modules side by side, the same bytes for any number of workers.

    Args:
        count: How many; one for each core by default.
    """
    import torch

    # OpenMP keeps its number of threads per thread, so each worker has to be told.
    return ThreadPoolExecutor(count or os.cpu_count() or 1, initializer=torch.set_num_threads, initargs=(1,))
