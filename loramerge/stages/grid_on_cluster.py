"""The cells of a grid as tasks of a Ray cluster; each worker loads the base once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases.quiet import quiet
from loramerge.cluster.cluster import Cluster
from loramerge.cluster.marks import Marks
from loramerge.previews.render import Drawing, Rendering
from loramerge.progress import Progress, Silent
from loramerge.stages.combine import combine
from loramerge.stages.elsewhere import elsewhere
from loramerge.stages.preview_inputs import Prepared, prepared
from loramerge.stages.variant_cells import cells_of, loras_of

if TYPE_CHECKING:
    from loramerge.lock.model import Lock
    from loramerge.recipe.variants import Variants


@dataclass(frozen=True)
class DrawnCells:
    """What came of cells.

    Attributes:
        count: How many pictures were drawn; the others were there.
        notes: What is to be said of the merges and the pictures.
        environment: What drew them.
    """

    count: int
    notes: tuple[str, ...]
    environment: tuple[str, ...]


def draw_on_cluster(
    variants: Variants, drawing: Drawing, lock: Lock | None, device: str, progress: Progress | None
) -> DrawnCells:
    """Let workers draw every cell that is not there as they would draw it.

    Args:
        variants: What the cells are of.
        drawing: All of them, and where they go.
        lock: What the recipe's sources have to be.
        device: `auto`, `cpu` or `cuda`.
        progress: Told of every cell.

    Raises:
        LoramergeError: There is no cluster, or a cell can't be drawn; what was drawn stays.
    """
    cluster, marks, progress = Cluster(), Marks(), progress or Silent()
    make = pickle.dumps(partial(_CellDrawer, variants, lock, drawing.folder, device))
    found: list[DrawnCells] = []
    progress.start("cells", len(drawing.columns))
    try:
        there = marks.of(drawing.folder.parent, "where pictures go")
        for number, cell in enumerate(drawing.columns):
            call = partial(_draw_cell, make, cell.name)
            task = elsewhere("grid", variants.first, call, lock=lock, device=device, there=there)
            cluster.give(number, task)
        while cluster.given:
            ended = cluster.take()
            cell = drawing.columns[ended.key]
            if ended.refusal is not None:
                raise ended.refusal.error(f"{cell.name} was not drawn: ")
            assert ended.value is not None  # noqa: S101  nothing is taken back
            drawn: DrawnCells = pickle.loads(ended.value)  # noqa: S301  a worker of ours wrote it
            said = (f"{cell.name}: {ended.note}",) if ended.note else ()
            found.append(DrawnCells(drawn.count, (*said, *drawn.notes), drawn.environment))
            progress.advance()
    finally:
        cluster.close()
        marks.remove()
    return DrawnCells(
        sum(each.count for each in found),
        tuple(dict.fromkeys(chain.from_iterable(each.notes for each in found))),
        tuple(sorted({*chain.from_iterable(each.environment for each in found)})),
    )


class _CellDrawer:
    """Draws cells, one after the other, by one pipeline."""

    def __init__(self, variants: Variants, lock: Lock | None, place: Path, device: str) -> None:
        self._ready: Prepared = prepared(variants.first, lock, place, device, None)
        cells = list(chain.from_iterable(cells_of(variants, self._ready.loaded)))
        self._recipes = dict(zip((cell.name for cell in cells), chain.from_iterable(variants.recipes), strict=True))
        self._drawing = Drawing(cells, self._ready.preview, self._ready.size, place, self._ready.device)
        with quiet():
            self._rendering = Rendering(self._drawing, self._ready.loaded.base)

    def __call__(self, name: str) -> DrawnCells:
        """Draw what is missing of a cell."""
        loaded, notes, count = self._ready.loaded, list[str](), 0
        for cell in self._rendering.columns:
            if cell.name == name:
                recipe = self._recipes[name]
                combined = combine(loras_of(recipe, loaded), loaded.base, recipe.merge, device=self._ready.device)
                count = sum(map(len, self._drawing.waiting(cell)))
                with quiet():
                    self._rendering.draw(cell, combined.adapter)
                notes = [*combined.notes, *self._rendering.drawn.notes]
        return DrawnCells(count, tuple(notes), (self._drawing.common["environment"],))


def _draw_cell(make: bytes, name: str) -> DrawnCells:
    return _drawer(make)(name)


@lru_cache(1)
def _drawer(make: bytes) -> Callable[[str], DrawnCells]:
    """What a process draws with, from one cell to the next."""
    drawer: _CellDrawer = pickle.loads(make)()  # noqa: S301  it comes from the one who asks
    return drawer
