"""A call for a recipe on another machine: what that has to have, and what it has to see of this one."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.cluster.task import ClusterTask, Needs
from loramerge.files.digest import sha256_of
from loramerge.lock.needed_memory import needed_memory
from loramerge.numerics.threads import wanted_threads
from loramerge.stages.resolve import local_sources

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe


def elsewhere(
    what: str,
    recipe: Recipe,
    call: Callable[[], Any],
    *,
    lock: Lock | None,
    device: str,
    there: Mapping[str, str] | None = None,
    sources: bool = True,
) -> ClusterTask:
    """A task of a cluster.

    Args:
        what: Is done for the recipe.
        recipe: Its files have to be seen there as they are here.
        call: That can be pickled, as can what it gives.
        lock: What the recipe's sources are, as far as that is known; it tells how much memory is needed.
        device: `auto`, `cpu` or `cuda`.
        there: Other files and folders that have to be seen → what they are, in words.
        sources: False where those of this machine are still to be made.
    """
    paths = local_sources(recipe) if sources else []
    files = [path for path in (recipe.path, *recipe.beside) if path is not None]
    return ClusterTask(
        name=f"loramerge {what} {recipe.name}",
        call=pickle.dumps(call),
        needs=Needs(needed_memory(recipe, lock), device, wanted_threads() or 1),
        folder=str(Path.cwd()),
        there={str(path.resolve()): f"{path}, which {recipe.origin} reads" for path in paths} | dict(there or {}),
        same={str(path.resolve()): sha256_of(path) for path in files},
    )
