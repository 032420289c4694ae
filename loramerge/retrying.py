"""Trying again what a server refused for the moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

Result = TypeVar("Result")

_TRIES = 5
_FIRST_WAIT = 1.0
LONGEST_WAIT = 300.0
"""Seconds. A server that asks for longer gets its error shown instead."""
TOO_MANY_REQUESTS = 429


@dataclass
class Retrying:
    """Calls until it succeeds, at most five times, with growing waits.

    A server that can't be reached is waited for once in a process, or each of many recipes would wait anew: where five
    calls found no connection, the next ones do not wait for one, until one succeeds.

    Attributes:
        failures: What a client raises that may be mended by waiting.
        wait: Failure and the usual number of seconds → seconds to wait; None when another try would end the same.
        lost: Whether there was no connection, or it broke off.
        spent: Servers to which five calls in a row found no connection.
    """

    failures: Callable[[], tuple[type[Exception], ...]]
    wait: Callable[[Exception, float], float | None]
    lost: Callable[[Exception], bool]
    spent: set[str] = field(default_factory=set)

    def call(self, call: Callable[[], Result], sleep: Callable[[float], object], server: str = "") -> Result:
        """Call until it succeeds.

        Args:
            call: Safe to repeat although its answer may have been lost.
            sleep: Waits for so many seconds.
            server: Who is called.

        Raises:
            Exception: What the last call raised, or one that waiting can't mend.
        """
        attempt = 0
        while True:
            try:
                result = call()
            except self.failures() as error:  # noqa: PERF203  five times at most
                lost, wait = self.lost(error), self.wait(error, _FIRST_WAIT * 2**attempt)
                if wait is None or wait > LONGEST_WAIT or (lost and server in self.spent):
                    raise
                attempt += 1
                if attempt == _TRIES:
                    if lost:
                        self.spent.add(server)
                    raise
                sleep(wait)
            else:
                self.spent.discard(server)
                return result
