"""Trying again what a Hub refused for the moment: huggingface_hub itself never repeats a commit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from time import sleep
from typing import TypeVar

from loramerge.hub.errors import root

Result = TypeVar("Result")

_TRIES = 5
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 300.0
"""Seconds. A Hub that asks for more patience gets its error shown instead."""
_TOO_MANY_REQUESTS = 429


@dataclass
class _Patience:
    """Whether a Hub that can't be reached is waited for: once in a process, or each of many recipes would wait anew."""

    spent: bool = False


_PATIENCE = _Patience()


def patiently(call: Callable[[], Result]) -> Result:
    """Call until it succeeds, at most five times: after 429, 5xx and lost connections, with growing waits.

    What a Hub says in `Retry-After` or `RateLimit` is honoured, up to five minutes. Where five calls found no
    connection, the next ones do not wait for one, until one succeeds.

    Args:
        call: Safe to repeat although its answer may have been lost.

    Raises:
        Exception: What the last call raised, or one that waiting can't mend.
    """
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily since 1.31, for 1.x and 2.x

    attempt = 0
    while True:
        try:
            result = call()
        except (httpx.HTTPError, OSError, RuntimeError) as error:  # noqa: PERF203  five times at most
            lost = _is_lost(root(error))
            wait = _wait(root(error), _FIRST_WAIT * 2**attempt)
            if wait is None or (lost and _PATIENCE.spent):
                raise
            attempt += 1
            if attempt == _TRIES:
                _PATIENCE.spent = lost
                raise
            sleep(wait)
        else:
            _PATIENCE.spent = False
            return result


def _is_lost(error: Exception) -> bool:
    """Whether there was no connection, or it broke off."""
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily since 1.31, for 1.x and 2.x

    return isinstance(error, (httpx.TransportError, ConnectionError, TimeoutError))


def _wait(error: Exception, usual: float) -> float | None:
    """Seconds to wait before another try; None when it would end the same."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    match error:
        case HfHubHTTPError():
            response = error.response
            if response.status_code != _TOO_MANY_REQUESTS and not response.is_server_error:
                return None
            asked = response.headers.get("Retry-After", "")
            if not asked.isdigit():
                reset = re.search(r"\bt=(\d+)", response.headers.get("RateLimit", ""))
                asked = reset[1] if reset else "0"
            wait = max(usual, float(asked))
            return wait if wait <= _LONGEST_WAIT else None
        case OfflineModeIsEnabled():
            return None
        case _:
            return usual if _is_lost(error) else None
