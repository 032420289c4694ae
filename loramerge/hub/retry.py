"""Trying again what a Hub refused for the moment: huggingface_hub itself never repeats a commit."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import sleep
from typing import TypeVar

from loramerge.hub.errors import root

Result = TypeVar("Result")

_TRIES = 5
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 300.0
"""Seconds. A Hub that asks for more patience gets its error shown instead."""
_TOO_MANY_REQUESTS = 429


def patiently(call: Callable[[], Result]) -> Result:
    """Call until it succeeds, at most five times: after 429, 5xx and lost connections, with growing waits.

    What a Hub says in `Retry-After` or `RateLimit` is honoured, up to five minutes.

    Args:
        call: Safe to repeat although its answer may have been lost.

    Raises:
        Exception: What the last call raised, or one that waiting can't mend.
    """
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily since 1.31, for 1.x and 2.x

    for attempt in range(_TRIES - 1):
        try:
            return call()
        except (httpx.HTTPError, OSError, RuntimeError) as error:  # noqa: PERF203  five times at most
            wait = _wait(root(error), _FIRST_WAIT * 2**attempt)
            if wait is None:
                raise
            sleep(wait)
    return call()


def _wait(error: Exception, usual: float) -> float | None:
    """Seconds to wait before another try; None when it would end the same."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily since 1.31, for 1.x and 2.x

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
        case httpx.TransportError() | ConnectionError() | TimeoutError():
            return usual
        case _:
            return None
