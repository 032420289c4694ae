"""The number of threads must not show in results."""

from __future__ import annotations

from collections.abc import Iterator
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
