"""Trying again what a registry refused for the moment."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import TypeVar

from loramerge.registry.errors import RegistryError
from loramerge.retrying import TOO_MANY_REQUESTS, Retrying

Result = TypeVar("Result")


def patiently(host: str, call: Callable[[], Result]) -> Result:
    """Call until it succeeds, at most five times: after 429, 5xx and lost connections, with growing waits.

    What a registry says in `Retry-After` is honoured, up to five minutes.

    Args:
        host: The registry.
        call: Safe to repeat although its answer may have been lost.

    Raises:
        RegistryError: That of the last call, or one that waiting can't mend.
    """
    return _RETRYING.call(call, sleep, host)


def _is_lost(error: Exception) -> bool:
    return isinstance(error, RegistryError) and error.lost


def _wait_after(error: Exception, usual: float) -> float | None:
    """Seconds to wait before another try; None when it would end the same."""
    if not isinstance(error, RegistryError):
        return None
    if error.status == TOO_MANY_REQUESTS or error.is_server_error:
        return max(usual, error.wait or 0.0)
    return usual if error.lost else None


_RETRYING = Retrying(lambda: (RegistryError,), _wait_after, _is_lost)
