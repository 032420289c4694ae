"""A LoRA from a fine-tune: loramerge, and the method of kohya's script, from files to factors.

The base is random, the fine-tune is that plus a matrix of rank 48 with falling values and noise as large as the last of
them; both are files of float16. Of each shape that layers of the UNet's transformers have some are extracted, and each
counts as often as the UNet has that shape: one on their side, as many as there are threads on ours, side by side.

- loramerge reads both files, cuts the differences to the rank and computes what is left of them, as `extract` does;
- kohya's method is that of `networks/extract_lora_from_models.py`: the difference in float32, `torch.linalg.svd` with
  all vectors, the first of them, both factors clamped at the 0.99 quantile of their values.

The error is ‖difference - up·down‖ / ‖difference‖ over the layers, in float64. Imports are not counted.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Figures, asked, in_turn, limit, peak_memory, ratio, stopwatch, tell, times, total
from models import Sample, base_of, layers_of

if TYPE_CHECKING:
    from plan import Plan
    from torch import Tensor

    from loramerge.extraction.weights import Weights

RANK = 32
TRAINED = 48  # rank of what was trained
CLAMPED = 0.99
THEIRS, OURS = "kohya's method", "loramerge"
BASE, TUNED = "base.safetensors", "tuned.safetensors"


def rows(plan: Plan) -> Iterator[Figures]:
    """A row for each model."""
    for model in plan.models:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            given = {"folder": folder, "model": model, "threads": plan.threads}
            made = asked("extracting.py", {"step": "make", **given})
            sides = {side: partial(asked, "extracting.py", {"step": side, **given}) for side in (THEIRS, OURS)}
            found = in_turn(plan.runs, sides)
        yield {
            "part": "extracting",
            "model": model,
            "rank": RANK,
            **made,
            "sides": found,
            "ratios": [ratio(found, THEIRS, OURS)],
        }


def answer(step: str, folder: str, model: str, threads: int) -> Iterator[Figures]:
    """What one process says: of the files it made, or of the side it measured."""
    limit(threads)
    sample = Sample.of(layers_of(model), 1)
    if step == "make":
        yield _make(Path(folder), sample, threads)
        return
    found = _theirs(Path(folder), sample) if step == THEIRS else _ours(Path(folder), sample, model, threads)
    yield {**found, "peak_mb": peak_memory()}


def _make(folder: Path, sample: Sample, threads: int) -> Figures:
    """Write both files, of the layers alone that are measured."""
    import torch
    from safetensors.torch import save_file

    names = [name for names, _ in sample.of_each_shape(threads) for name in names]
    generator = torch.Generator().manual_seed(0)
    base, tuned = {}, {}
    for name in names:
        out, width = sample.layers[name][0], math.prod(sample.layers[name][1:])
        before = torch.randn(out, width, generator=generator) * 0.02
        values = 1e-3 * 0.9 ** torch.arange(TRAINED)
        up = torch.randn(out, TRAINED, generator=generator) * values
        trained = up @ torch.randn(TRAINED, width, generator=generator)
        noise = torch.randn(out, width, generator=generator) * float(values[-1])
        shape = sample.layers[name]
        base[name] = before.half().reshape(shape)
        tuned[name] = (base[name].float() + (trained + noise).reshape(shape)).half()
    save_file(base, folder / BASE)
    save_file(tuned, folder / TUNED)
    return {"layers": len(sample.layers), "shapes": len(sample.of_each_shape(1))}


def _theirs(folder: Path, sample: Sample) -> Figures:
    from safetensors import safe_open

    found, squares = [], []
    for names, factor in sample.of_each_shape(1):
        with stopwatch() as figures:
            factors = {}
            with safe_open(folder / TUNED, "pt") as tuned, safe_open(folder / BASE, "pt") as base:
                for name in names:
                    one, other = tuned.get_tensor(name).float(), base.get_tensor(name).float()
                    factors[name] = _clamped((one - other).flatten(1))
        found.append(times(figures, factor))
        squares.append([factor * each for each in _squares(folder, factors)])
    return {**total(found), "error": _error(squares)}


def _clamped(matrix: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    left, values, right = torch.linalg.svd(matrix)
    up, down = left[:, :RANK] * values[:RANK], right[:RANK]
    highest = _quantile(torch.cat([up.flatten(), down.flatten()]), CLAMPED)
    return up.clamp(-highest, highest), down.clamp(-highest, highest)


def _quantile(numbers: Tensor, share: float) -> float:
    import torch

    return float(torch.quantile(numbers, share))


def _ours(folder: Path, sample: Sample, model: str, threads: int) -> Figures:
    from loramerge.extraction.cut import Cut
    from loramerge.extraction.extract import extract

    tuned, base = (_weights(folder / name, model) for name in (TUNED, BASE))
    first = [sample.of_each_shape(1)[0][0][0]]
    extract(_only(tuned, first), _only(base, first), Cut(RANK))  # loads what is loaded late
    found, squares = [], []
    for names, factor in sample.of_each_shape(threads):
        with stopwatch() as figures:
            made = extract(_only(tuned, names), _only(base, names), Cut(RANK))
        found.append(times(figures, factor))
        pairs = made.adapter.components["unet"]
        factors = {name: (pair.up.flatten(1), pair.down.flatten(1)) for name, pair in pairs.items()}
        squares.append([factor * each for each in _squares(folder, factors)])
    return {**total(found), "error": _error(squares)}


def _weights(path: Path, model: str) -> Weights:
    """Where the layers of a file lie."""
    from loramerge.extraction.weights import Placed, Weights
    from loramerge.tensor_files.safetensors import opened

    file = opened(path)
    placed = {name: Placed(name, file.tensor(name)) for name in file.keys}
    return Weights(path.name, base_of(model), {"unet": placed}, {})


def _only(weights: Weights, names: Sequence[str]) -> Weights:
    from dataclasses import replace

    return replace(weights, layers={"unet": {name: weights.layers["unet"][name] for name in names}})


def _squares(folder: Path, factors: Mapping[str, tuple[Tensor, Tensor]]) -> list[float]:
    """The squared norms of what is left of differences, and of the differences."""
    from safetensors import safe_open

    left = whole = 0.0
    with safe_open(folder / TUNED, "pt") as tuned, safe_open(folder / BASE, "pt") as base:
        for name, (up, down) in factors.items():
            matrix = (tuned.get_tensor(name).double() - base.get_tensor(name).double()).flatten(1)
            whole += float(matrix.square().sum())
            left += float((matrix - up.double() @ down.double()).square().sum())
    return [left, whole]


def _error(squares: Sequence[Sequence[float]]) -> float:
    left, whole = (sum(each) for each in zip(*squares, strict=True))
    return math.sqrt(left / whole)


if __name__ == "__main__":
    tell(answer)
