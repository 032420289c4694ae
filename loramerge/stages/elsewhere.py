"""A call for a recipe on another machine: what that has to have, and what it has to see of this one."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from loramerge.cluster.task import ClusterTask, Needs
from loramerge.files.digest import sha256_of
from loramerge.lock.needed_memory import needed_memory
from loramerge.numerics.threads import wanted_threads
from loramerge.provenance.git import ToldByGit
from loramerge.stages.resolve import local_sources

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe import Recipe

_Given = TypeVar("_Given")


def elsewhere(  # noqa: PLR0913  each is something that a task says of itself
    what: str,
    recipe: Recipe,
    call: Callable[[], Any],
    *,
    lock: Lock | None,
    device: str,
    there: Mapping[str, str] | None = None,
    sources: bool = True,
    here: bool = True,
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
        here: False where this folder and the recipe's files are needed only if something of this machine is.
    """
    paths = local_sources(recipe) if sources else []
    files = [path for path in (recipe.path, *recipe.beside) if path is not None]
    here = here or bool(paths or there)
    told = ToldByGit.of(recipe.folder, files)
    return ClusterTask(
        name=f"loramerge {what} {recipe.name}",
        call=pickle.dumps(partial(_made_there, told, call)),
        needs=Needs(needed_memory(recipe, lock), device, wanted_threads() or 1),
        folder=str(Path.cwd()) if here else None,
        there={str(path.resolve()): f"{path}, which {recipe.origin} reads" for path in paths} | dict(there or {}),
        same={str(path.resolve()): sha256_of(path) for path in files} if here else {},
    )


def _made_there(told: ToldByGit, call: Callable[[], _Given]) -> _Given:
    """Make a call where the recipe may not lie in its repository."""
    with told.believed():
        return call()
