"""Who tries the merges of a search: this process, several of this machine, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from loramerge.search.on_cluster import ClusterWorkers
from loramerge.search.workers import OneAtATime, Processes
from loramerge.stages.elsewhere import elsewhere
from loramerge.stages.trial import Trier

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.progress import Progress
    from loramerge.search.workers import Workers
    from loramerge.stages.trial import SearchInputs


@contextmanager
def who_tries(
    inputs: SearchInputs, lock: Lock | None, jobs: int, on: str | None, device: str, progress: Progress
) -> Iterator[Workers]:
    """Workers, inside a `with`.

    Args:
        inputs: What this process tries with; others load their own.
        lock: What the recipe's sources have to be.
        jobs: How many try side by side.
        on: `ray` for a cluster.
        device: What was asked for; the workers of a cluster choose by it.
        progress: Told of what this process does.
    """
    trier: Trier | None = None
    if on is not None:
        make = partial(Trier.loading, inputs.recipe, lock, device)
        workers: Workers = ClusterWorkers(
            make, jobs, lambda call: elsewhere("tune", inputs.recipe, call, lock=lock, device=device)
        )
    elif jobs > 1:
        workers = Processes(partial(Trier.loading, inputs.recipe, lock, inputs.device), jobs)
    else:
        trier = Trier(inputs, progress)
        workers = OneAtATime(trier)
    try:
        yield workers
    finally:
        workers.close()
        if trier is not None:
            trier.close()
