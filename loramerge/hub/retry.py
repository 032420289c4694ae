"""Trying again what a Hub refused for the moment: huggingface_hub itself never repeats a commit."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import sleep
from typing import TypeVar

from loramerge.hub.errors import root
from loramerge.hub.guarded import guard
from loramerge.retrying import TOO_MANY_REQUESTS, Retrying

Result = TypeVar("Result")


def patiently(call: Callable[[], Result]) -> Result:
    """Call until it succeeds, at most five times: after 429, 5xx and lost connections, with growing waits.

    What a Hub says in `Retry-After` or `RateLimit` is honoured, up to five minutes. Where five calls found no
    connection, the next ones do not wait for one, until one succeeds.

    Args:
        call: Safe to repeat although its answer may have been lost.

    Raises:
        Exception: What the last call raised, or one that waiting can't mend.
    """

    def guarded() -> Result:
        guard()  # each time: the client of a process is made anew after some failures
        return call()

    return _RETRYING.call(guarded, sleep)


def _failures() -> tuple[type[Exception], ...]:
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily since 1.31, for 1.x and 2.x

    return httpx.HTTPError, OSError, RuntimeError


def _is_lost(error: Exception) -> bool:
    """Whether there was no connection, or it broke off."""
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily since 1.31, for 1.x and 2.x

    return isinstance(root(error), (httpx.TransportError, ConnectionError, TimeoutError))


def _wait(error: Exception, usual: float) -> float | None:
    """Seconds to wait before another try; None when it would end the same."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    match root(error):
        case HfHubHTTPError() as refused:
            response = refused.response
            if response.status_code != TOO_MANY_REQUESTS and not response.is_server_error:
                return None
            asked = response.headers.get("Retry-After", "")
            if not asked.isdigit():
                reset = re.search(r"\bt=(\d+)", response.headers.get("RateLimit", ""))
                asked = reset[1] if reset else "0"
            return max(usual, float(asked))
        case OfflineModeIsEnabled():
            return None
        case _:
            return usual if _is_lost(error) else None


_RETRYING = Retrying(_failures, _wait, _is_lost)
