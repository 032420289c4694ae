"""The picture of a study: scores in the order of the trials, and each value against its score."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

from loramerge.previews.png import save

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from loramerge.search.study import FinishedTrial

_WIDE, _HIGH, _HEAD = 3.2, 2.4, 3.0  # inches: of the plot of a value, and the height of the first
_COLUMNS = 3
_DPI = 100
_DOT, _BEST, _LINE = "#7a869a", "#c0392b", "#2c5aa0"
_SPREAD = 0.3  # how far dots of one choice lie apart, of the way to the next choice


def draw(path: Path, name: str, objective: str, trials: Sequence[FinishedTrial], keys: Sequence[str]) -> None:
    """Write it as a PNG, which is the same for the same trials.

    Args:
        path: Where to.
        name: Of the recipe.
        objective: What was judged by.
        trials: Those that ended, in their order; one at least has a score.
        keys: What varied.

    Raises:
        LoramergeError: It can't be written.
    """
    from PIL import Image

    scored = [(each.number, each.values, each.judged.score) for each in trials if each.judged is not None]
    rows = math.ceil(len(keys) / _COLUMNS)
    out = BytesIO()
    with _default_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_COLUMNS * _WIDE, _HEAD + rows * _HIGH), dpi=_DPI, layout="constrained")
        grid = figure.add_gridspec(1 + rows, _COLUMNS, height_ratios=[_HEAD, *[_HIGH] * rows])
        _history(figure.add_subplot(grid[0, :]), scored, f"{name}: {objective}, {len(trials)} trials")
        for place, key in enumerate(keys):
            _slice(figure.add_subplot(grid[1 + place // _COLUMNS, place % _COLUMNS]), key, scored)
        figure.savefig(out, format="png", metadata={"Software": None})
    with Image.open(out) as picture:
        picture.load()
        save(picture.convert("RGB"), path, {"recipe": name, "objective": objective, "trials": str(len(trials))})


_Scored = Sequence[tuple[int, Mapping[str, Any], float]]


def _history(axes: Axes, scored: _Scored, title: str) -> None:
    numbers, scores = [each[0] + 1 for each in scored], [each[2] for each in scored]
    best = [max(scores[: place + 1]) for place in range(len(scores))]
    axes.plot(numbers, scores, "o", markersize=4, color=_DOT, label="score")
    axes.step(numbers, best, where="post", color=_LINE, label="best so far")
    at = scores.index(max(scores))
    axes.plot(numbers[at], scores[at], "o", markersize=7, color=_BEST, label=f"best: {scores[at]:.4g}")
    axes.set_title(title)
    axes.set_xlabel("trial")
    axes.set_ylabel("score")
    axes.legend(loc="lower right", fontsize=8)


def _slice(axes: Axes, key: str, scored: _Scored) -> None:
    """A value against the score; values without an order lie beside each other. The best trial's stands out."""
    asked = [(values[key], score) for _, values, score in scored if key in values]
    best = max(scored, key=lambda each: each[2])
    axes.set_title(key, fontsize=9)
    axes.set_ylabel("score", fontsize=8)
    axes.tick_params(labelsize=8)
    if not asked:
        return
    if all(_is_number(value) for value, _ in asked):
        axes.plot([value for value, _ in asked], [score for _, score in asked], "o", markersize=4, color=_DOT)
        if key in best[1]:
            axes.plot(best[1][key], best[2], "o", markersize=6, color=_BEST)
        return
    labels = list(dict.fromkeys(_choice_label(value) for value, _ in asked))
    for label in labels:
        own = [score for value, score in asked if _choice_label(value) == label]
        left = labels.index(label) - _SPREAD / 2
        at = [left + _SPREAD * place / max(1, len(own) - 1) for place in range(len(own))]
        axes.plot(at, own, "o", markersize=4, color=_DOT)
        if key in best[1] and _choice_label(best[1][key]) == label:
            place = own.index(best[2])
            axes.plot(at[place], own[place], "o", markersize=6, color=_BEST)
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _choice_label(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def _default_style() -> Iterator[None]:
    """Plots as they come, whatever the user's own settings are; matplotlib tells of caches and fonts otherwise."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        from matplotlib import rc_context, rcdefaults, rcParams

        with rc_context():
            rcdefaults()
            rcParams["text.parse_math"] = False
            yield
    finally:
        log.setLevel(level)
