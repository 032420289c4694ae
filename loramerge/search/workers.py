"""Who tries: this process, one trial after the other, or several processes side by side.

Each process loads what it needs once.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Protocol

from loramerge.cluster.spawned import spawned
from loramerge.errors import LoramergeError
from loramerge.numerics.threads import cores
from loramerge.search.attempt import attempted, outcome_in, outcome_of

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from loramerge.search.attempt import Outcome, Trying
    from loramerge.search.space import Values


class Workers(Protocol):
    """Who tries."""

    @property
    def free(self) -> bool:
        """Whether one of them has nothing to do."""

    @property
    def busy(self) -> bool:
        """Whether one of them is at work."""

    def give(self, number: int, values: Values) -> None:
        """Let one of them try some values."""

    def take(self) -> Outcome:
        """Wait for what comes of a trial.

        Raises:
            LoramergeError: Trials can't go on.
        """

    def close(self) -> None:
        """Let them go."""


class OneAtATime:
    """This process.

    Args:
        trying: Tries.
    """

    def __init__(self, trying: Trying) -> None:
        self._trying = trying
        self._given: tuple[int, Values] | None = None

    @property
    def free(self) -> bool:
        """Whether nothing was given."""
        return self._given is None

    @property
    def busy(self) -> bool:
        """Whether something was given."""
        return self._given is not None

    def give(self, number: int, values: Values) -> None:
        """Keep it for `take`."""
        self._given = number, values

    def take(self) -> Outcome:
        """Try what was given."""
        assert self._given is not None  # noqa: S101  whoever calls it has given something
        (number, values), self._given = self._given, None
        return outcome_of(self._trying, number, values)

    def close(self) -> None:
        """Nothing to do."""


class Processes:
    """Several processes.

    Args:
        make: Loads what trying needs; it goes to every process.
        count: How many.
    """

    def __init__(self, make: Callable[[], Trying], count: int) -> None:
        self._processes: list[SpawnProcess] = []
        self._free: list[Connection] = []
        self._busy: list[Connection] = []
        threads = max(1, cores() // count)
        for _ in range(count):
            process, connection = spawned(_work_on, make, threads)
            self._processes.append(process)
            self._free.append(connection)

    @property
    def free(self) -> bool:
        """Whether one of them has nothing to do."""
        return bool(self._free)

    @property
    def busy(self) -> bool:
        """Whether one of them is at work."""
        return bool(self._busy)

    def give(self, number: int, values: Values) -> None:
        """Let one of them try some values."""
        connection = self._free.pop(0)
        self._busy.append(connection)
        connection.send((number, dict(values)))

    def take(self) -> Outcome:
        """Wait for what comes of a trial.

        Raises:
            LoramergeError: A process can't load what it needs, or ended.
        """
        connection: Any = wait(self._busy)[0]
        try:
            found = connection.recv()
        except (EOFError, OSError):
            raise LoramergeError(
                "a process of the search ended before its trial did; there may be too little memory for so many",
                hint="the same command goes on; give it fewer --jobs",
            ) from None
        self._busy.remove(connection)
        self._free.append(connection)
        return outcome_in(found)

    def close(self) -> None:
        """End them, at work or not."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        for connection in (*self._free, *self._busy):
            connection.close()


def _work_on(connection: Connection, make: Callable[[], Trying], threads: int) -> None:
    """What a process does until it is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    import torch

    torch.set_num_threads(threads)
    trying = cache(make)
    with suppress(EOFError):
        while True:
            connection.send(attempted(trying, *connection.recv()))
