from __future__ import annotations

import threading

import pytest
import torch

from loramerge.numerics import threads
from loramerge.numerics.threads import cores, in_order, workers


@pytest.mark.parametrize(
    ("said", "there", "expected"),
    [("", 4, 4), ("3", 4, 3), ("9", 4, 4), ("2,1", 4, 2), ("0", 4, 4), ("many", 4, 4), ("1", 1, 1)],
)
def test_cores_are_those_that_the_process_may_use(monkeypatch, said, there, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(there)), raising=False)
    assert cores() == expected


@pytest.mark.parametrize("count", [1, 3])
def test_results_come_in_order_from_one_thread_each(count):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with workers(count) as pool:
        found = list(in_order(pool, lambda item: (item, torch.get_num_threads()), range(9), ahead=2 * count))
        here = pool.submit(threading.get_ident).result() == threading.get_ident()
    assert found == [(item, 1) for item in range(9)]
    assert here == (count == 1)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_comes_where_its_result_is_asked_for(count):
    found = []
    with pytest.raises(ZeroDivisionError), workers(count) as pool:
        found.extend(in_order(pool, lambda item: 6 // item, [1, 2, 0, 3], ahead=2))
    assert found == [6, 3]
