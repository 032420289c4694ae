"""What a worker of the cluster does with a task.

What comes from elsewhere is plain data until it is known that this is the same loramerge.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loramerge.artifact.environment import versions
from loramerge.errors import ExitCode, LoramergeError
from loramerge.files.digest import sha256_of

BEGUN, DONE, REFUSED = "begun", "done", "refused"
_INSTALL = "install on every node what is installed here, and start its `ray` from there"
_SHARE = "let recipes, sources and artifacts lie on storage that all nodes share, under the same path"


def work(
    wanted: Mapping[str, str], folder: str | None, there: Mapping[str, str], same: Mapping[str, str], call: bytes
) -> Iterator[tuple[Any, ...]]:
    """Make a call, if that can be done here.

    Args:
        wanted: Versions, as they are where the task comes from.
        folder: Where to make it; None if that is the same everywhere.
        there: Files and folders that have to be seen → what they are, in words.
        same: Files that have to be seen → their SHA-256.
        call: The pickled call.

    Yields:
        That it was begun, and by whom; then what came of it, or why it can't be done here.
    """
    who = socket.gethostname(), os.getpid()
    yield BEGUN, who
    if other := _other_versions(wanted):
        yield REFUSED, f"the node {who[0]} has {other}", _INSTALL, ExitCode.FAILED
    elif unseen := _unseen(folder, there, same):
        yield REFUSED, f"the node {who[0]} {unseen}", _SHARE, ExitCode.FAILED
    else:
        if folder is not None:
            os.chdir(folder)
        try:
            yield DONE, who, pickle.dumps(pickle.loads(call)())  # noqa: S301  it comes from the one who asks
        except LoramergeError as error:
            yield REFUSED, error.message, error.hint, error.exit_code


def _other_versions(wanted: Mapping[str, str]) -> str:
    """What is installed here in other versions than there."""
    here = versions()
    return ", ".join(
        f"{name} {here.get(name, 'unknown')} and not {version}"
        for name, version in wanted.items()
        if here.get(name) != version
    )


def _unseen(folder: str | None, there: Mapping[str, str], same: Mapping[str, str]) -> str:
    """What this machine does not see."""
    named = [path for path in (folder, *same) if path is not None]
    for path, what in {**dict(zip(named, named, strict=True)), **there}.items():
        if not os.path.lexists(path):
            return f"does not see {what}"
    for path, digest in same.items():
        if sha256_of(Path(path)) != digest:
            return f"sees another file at {path}"
    return ""
