"""Trials as tasks of a Ray cluster, which tries again what a lost worker had begun."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from loramerge.cluster.cluster import Cluster
from loramerge.search.attempt import Outcome, Stopped, attempted, outcome_in

if TYPE_CHECKING:
    from loramerge.cluster.task import ClusterTask
    from loramerge.search.attempt import Trying
    from loramerge.search.space import Values


class ClusterWorkers:
    """The workers of a Ray cluster.

    Args:
        make: Loads what trying needs; every process that tries does that once.
        count: How many trials Ray has at once.
        task: What a call becomes on its way there.

    Raises:
        LoramergeError: There is no cluster.
    """

    def __init__(
        self, make: Callable[[], Trying], count: int, task: Callable[[Callable[[], Outcome | Stopped]], ClusterTask]
    ) -> None:
        self._make, self._count, self._task = pickle.dumps(make), count, task
        self._cluster = Cluster()

    @property
    def free(self) -> bool:
        """Whether Ray has fewer trials than it may."""
        return self._cluster.given < self._count

    @property
    def busy(self) -> bool:
        """Whether it has one."""
        return self._cluster.given > 0

    def give(self, number: int, values: Values) -> None:
        """Hand a trial to Ray."""
        self._cluster.give(number, self._task(partial(_attempt, self._make, number, dict(values))))

    def take(self) -> Outcome:
        """Wait for what comes of a trial.

        Raises:
            LoramergeError: Trials can't go on.
        """
        ended = self._cluster.take()
        if ended.refusal is not None:
            raise ended.refusal.error(f"trial {ended.key + 1} was not finished: ")
        assert ended.value is not None  # noqa: S101  nothing is taken back
        outcome = outcome_in(pickle.loads(ended.value))  # noqa: S301  a worker of ours wrote it
        return (
            replace(outcome, notes=(*outcome.notes, f"trial {ended.key + 1}: {ended.note}")) if ended.note else outcome
        )

    def close(self) -> None:
        """Let go of the cluster; what is at work is ended."""
        self._cluster.close()


def _attempt(make: bytes, number: int, values: Values) -> Outcome | Stopped:
    return attempted(partial(_trying, make), number, values)


@lru_cache(1)
def _trying(make: bytes) -> Trying:
    """What a process tries with, from one trial to the next."""
    trying: Trying = pickle.loads(make)()  # noqa: S301  it comes from the one who asks
    return trying
