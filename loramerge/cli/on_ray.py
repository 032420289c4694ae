"""`run --on ray`: recipes as tasks of a Ray cluster. Ray says where and when, and does again what is lost."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.cli.planning import artifact_of
from loramerge.cli.recorded import Told, run_elsewhere, with_warning
from loramerge.cluster.cluster import Cluster
from loramerge.cluster.marks import Marks
from loramerge.errors import LoramergeError

if TYPE_CHECKING:
    from loramerge.cli.planning import PlannedRecipe
    from loramerge.cli.run_one import RunSettings
    from loramerge.cluster.task import ClusterTask


class RayCrew:
    """The workers of a Ray cluster.

    Args:
        settings: The command's options.
        jobs: How many recipes Ray has at once; as many as there are, if None.

    Raises:
        LoramergeError: There is no cluster.
    """

    def __init__(self, settings: RunSettings, jobs: int | None) -> None:
        self._settings, self._jobs = settings, jobs
        self._given: dict[int, PlannedRecipe] = {}
        self._marks = Marks()
        self._cluster = Cluster()

    @property
    def memory(self) -> None:
        """Ray sees to that."""

    @property
    def free(self) -> bool:
        """Whether Ray has fewer recipes than it may."""
        return self._jobs is None or len(self._given) < self._jobs

    @property
    def busy(self) -> bool:
        """Whether it has one."""
        return bool(self._given)

    def give(self, place: int, each: PlannedRecipe) -> None:
        """Hand a recipe to Ray."""
        task = self._task(each)
        self._given[place] = each
        self._cluster.give(place, task)

    def wait(self) -> None:
        """Wait until a recipe is done, or the cluster gone."""
        self._cluster.wait()

    def take(self) -> Sequence[tuple[int, Told | Exception | None]]:
        """What became of a recipe, or why nothing did."""
        try:
            ended = self._cluster.take()
        except LoramergeError as error:
            lost, self._given = self._given, {}
            return [(place, error) for place in lost]
        each = self._given.pop(ended.key)
        if ended.refusal is not None:
            return [(ended.key, ended.refusal.error(f"{each.given.path} was not finished: "))]
        if ended.value is None:
            return [(ended.key, None)]
        told: Told = pickle.loads(ended.value)  # noqa: S301  a worker of ours wrote it
        return [(ended.key, with_warning(told, ended.note, self._settings) if ended.note else told)]

    def recall(self) -> None:
        """Take back what no worker has begun."""
        self._cluster.recall()

    def interrupt(self) -> None:
        """Pass ^C on to all that are at work."""
        self._cluster.interrupt()

    def end(self) -> None:
        """Let go of the cluster; what is at work is ended."""
        self._cluster.close()
        self._marks.remove()

    def _task(self, each: PlannedRecipe) -> ClusterTask:
        from loramerge.stages.elsewhere import elsewhere

        recipe, settings, kept = each.given.readable(), self._settings, not self._settings.no_keep
        there: dict[str, str] = {}
        if kept:
            there |= self._marks.of(artifact_of(recipe, settings.out).parent, "where artifacts go")
        for target in () if settings.no_publish else recipe.publish:
            if (folder := target.folder(recipe.folder)) is not None:
                there |= self._marks.of(folder.parent, f"where {target.spelling} is")
        if settings.sign is not None and Path(settings.sign).is_file():
            there[str(Path(settings.sign).resolve())] = settings.sign
        call, lock = partial(run_elsewhere, each, settings), each.plan.lock if each.plan else None
        return elsewhere(
            "run", recipe, call, lock=lock, device=settings.device, there=there, sources=not each.makers, here=kept
        )
