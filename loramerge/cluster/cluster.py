"""A cluster, as the process sees it that asks."""

from __future__ import annotations

import signal
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from loramerge.cluster.connect import address, check
from loramerge.cluster.session import serve
from loramerge.cluster.spawned import spawned
from loramerge.cluster.task import Ask, ClusterRefusal, Ended
from loramerge.files.interrupts import later

if TYPE_CHECKING:
    from loramerge.cluster.task import ClusterTask

_CONNECT, _END = 120.0, 20.0  # seconds


class Cluster:
    """Takes tasks, and gives back what came of them. Ray decides where and when, and tries again what is lost.

    Raises:
        UsageError: RAY_ADDRESS is none that can be used.
        LoramergeError: Ray is not installed, or there is no cluster.
    """

    def __init__(self) -> None:
        check()
        self.address = address()
        self._process, self._connection = spawned(serve, self.address)
        self._given: set[int] = set()
        try:
            self._wait_until_connected()
        except BaseException:
            self._process.kill()
            self._process.join()
            raise

    @property
    def given(self) -> int:
        """How many tasks were given and have not come back."""
        return len(self._given)

    def give(self, key: int, task: ClusterTask) -> None:
        """Hand a task over."""
        self._given.add(key)
        self._send(Ask.GIVE, key, task)

    def wait(self) -> None:
        """Wait until `take` has something to give; ^C may end it."""
        wait([self._connection])

    def take(self) -> Ended:
        """Wait for what comes of a task.

        Raises:
            LoramergeError: The cluster is gone.
        """
        self.wait()
        try:
            with later(signal.SIGINT):
                ended: Ended | ClusterRefusal = self._connection.recv()
        except (EOFError, OSError):
            ended = ClusterRefusal(
                f"the Ray cluster ({self.address}) is gone", "what was finished stays; the same command goes on"
            )
        if isinstance(ended, ClusterRefusal):
            self._given.clear()
            raise ended.error()
        self._given.discard(ended.key)
        return ended

    def recall(self) -> None:
        """Take back what no worker has begun."""
        self._send(Ask.RECALL)

    def interrupt(self) -> None:
        """Pass ^C on to all that is at work, and take back the rest."""
        self._send(Ask.INTERRUPT)

    def close(self) -> None:
        """Let go of it; what is at work is ended."""
        self._connection.close()
        self._process.join(_END)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, *asked: Any) -> None:
        with suppress(OSError), later(signal.SIGINT):  # one that is gone is found out when it is waited for
            self._connection.send(asked)

    def _wait_until_connected(self) -> None:
        try:
            said = self._connection.recv() if self._connection.poll(_CONNECT) else None
        except EOFError:
            said = ClusterRefusal(f"Ray ended while it looked for its cluster ({self.address})")
        if said is None:
            said = ClusterRefusal(f"the Ray cluster at RAY_ADDRESS={self.address} does not answer")
        if isinstance(said, ClusterRefusal):
            raise said.error()
