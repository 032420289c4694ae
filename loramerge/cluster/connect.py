"""The way to a cluster, and a clear word where there is none."""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loramerge.errors import LoramergeError, UsageError

LOCAL = "local"
_ANSWER = 10.0  # seconds
_CLIENT = "ray://"


def check() -> None:
    """Go on only if Ray is there, and RAY_ADDRESS one that can be used; nothing is asked of a cluster.

    Raises:
        UsageError: Ray Client is meant.
        LoramergeError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise _not_installed("it is not installed")
    address()


def address() -> str:
    """Of the cluster that is meant: what RAY_ADDRESS says, or one of this machine that ends with the command.

    Raises:
        UsageError: Ray Client is meant.
    """
    said = os.environ.get("RAY_ADDRESS", "").strip() or LOCAL
    if said.startswith(_CLIENT):
        raise UsageError(
            f"RAY_ADDRESS={said} is for Ray Client, which --on ray does not use",
            hint="run it on a node of the cluster, with RAY_ADDRESS=auto, or through `ray job submit`",
        )
    return said


@contextmanager
def connected(address: str) -> Iterator[int]:
    """Be connected to a cluster inside a `with`.

    Args:
        address: Of the cluster; `auto` for one of this machine, `local` for one that is begun now and ends then.

    Yields:
        How many nodes it has.

    Raises:
        LoramergeError: There is no Ray, or no such cluster.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    begun: dict[str, Any] = {}
    if address == LOCAL:
        begun["include_dashboard"] = False
        _take_nobody_else()  # before Ray looks
    try:
        import ray
    except ImportError as error:
        raise _not_installed(str(error)) from None
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **begun)
    except Exception as error:  # noqa: BLE001  whatever Ray says
        raise _no_cluster_at(
            address, "; ".join(_last_line(each) for each in (error, error.__cause__) if each)
        ) from None
    try:
        yield sum(each["Alive"] for each in ray.nodes())
    finally:
        ray.shutdown()


def _not_installed(why: str) -> LoramergeError:
    """That Ray can't be had."""
    return LoramergeError(f"`--on ray` needs Ray, which can't be imported: {why}", hint="pip install 'loramerge[ray]'")


def _last_line(error: BaseException) -> str:
    """What Ray says last says most."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _take_nobody_else() -> None:
    """Give the cluster that is begun a token of its own; Ray's is a file for ever, which changes what `ray start` does.

    Without one, whoever reaches its ports could run code there.
    """
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _check_answers(address: str) -> None:
    """Go on only if somebody listens; Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster_at(address, str(error)) from None


def _no_cluster_at(address: str, why: str) -> LoramergeError:
    if address == LOCAL:
        return LoramergeError(f"Ray can't be started on this machine: {why}")
    return LoramergeError(
        f"the Ray cluster at RAY_ADDRESS={address} can't be reached: {why}",
        hint="name its head as HOST:PORT (6379 by default), run this on one of its nodes, and set RAY_AUTH_MODE=token "
        "if it asks for one",
    )
