"""The merge itself: `engine: factored` against PEFT's `add_weighted_adapter`, all types, in memory.

A process for each model, rank and number of LoRAs measures all types. Where a model has many layers, only some are
merged, and the time is that of all of them by the number of values: every nth layer of each shape, the same on both
sides. Types that decompose deltas would take PEFT hours: there it merges one layer of each shape, which counts as often
as there are layers of that shape. For `*_svd` ours merges as many of each shape as there are threads, side by side,
and counts them likewise; `svd` is measured as the types without a decomposition are. Ours hands each result over and
lets it go, as `run` does; PEFT holds all of them in its model. floors.py says what the floor is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

import floors
import pefts
from measure import Figures, in_turn, limit, ratio, stopwatch, tell, times, told_by, total
from models import PARAMETERS, TRANSFORMERS, WEIGHTS, Sample, base_of, decomposes, layers_of, random_pairs
from profiling import profiled
from steps import MERGING, counted

if TYPE_CHECKING:
    from plan import Plan

    from loramerge.bases.base import Base
    from loramerge.methods import Method

MOST_VALUES = 15_000_000  # of all LoRAs together: 60 MB
MOST_EVER = 10**12
HEADLINE = ("sdxl", 32, 2)  # merged whole
OF_TRANSFORMERS = ("cat", "svd")  # what is measured there; the others differ from UNets in nothing
PROFILED = ((32, 2), (128, 5))  # ranks and numbers of LoRAs for which ours tells where its time goes


def rows(plan: Plan) -> Iterator[Figures]:
    """A row for each type, model, rank and number of LoRAs."""
    every = list(product(plan.models, plan.ranks, plan.loras))
    if "tiny" not in plan.models:
        every += product(TRANSFORMERS, plan.ranks[:1], plan.loras[:1])
    for model, rank, count in sorted(every, key=lambda setting: setting != HEADLINE):  # what counts most comes first
        whole = (model, rank, count) == HEADLINE
        settings = {
            "model": model,
            "rank": rank,
            "loras": count,
            "types": plan.types if model not in TRANSFORMERS else [t for t in plan.types if t in OF_TRANSFORMERS],
            "runs": plan.runs if whole else min(plan.runs, 2),
            "most": MOST_EVER if whole else MOST_VALUES,
            "device": plan.device,
            "threads": plan.threads,
            "profile": plan.profile,
        }
        yield from told_by("merging.py", settings)


def measured(  # noqa: PLR0917  as `rows` says them, by name
    model: str,
    rank: int,
    loras: int,
    types: list[str],
    runs: int,
    most: int,
    device: str,
    threads: int,
    profile: bool,
) -> Iterator[Figures]:
    """What the process for one model, rank and number of LoRAs says."""
    warnings.simplefilter("ignore")
    limit(threads)
    sample = Sample.of(layers_of(model), most // (rank * loras))
    needed = {*sample.chosen, *(name for names, _ in sample.of_each_shape(threads) for name in names)}
    shapes = {name: shape for name, shape in sample.layers.items() if name in needed}
    pairs = [random_pairs(shapes, rank, seed) for seed in range(loras)]
    ours = Ours(base_of(model), pairs, device, threads)
    for name in types:
        first = list(sample.chosen[:2])
        pefts.merge(pairs, first, name, device)  # loads what is loaded late
        ours.merge(first, name)
        sides = {"PEFT": partial(_theirs, pairs, sample, name, device), "loramerge": partial(ours.whole, sample, name)}
        if device == "cpu":
            sides["floor"] = partial(_floor, pairs, sample, name, threads)
        ratios = [("PEFT", "loramerge"), ("loramerge", "floor")][: len(sides) - 1]
        found = in_turn(1 if decomposes(name) and most < MOST_EVER else runs, sides)
        if profile:
            with profiled(f"{name}, {model}, {loras} LoRAs of rank {rank}"):
                Ours(ours.base, pairs, device, 1).whole(sample, name)
        yield {
            "part": "merging",
            "model": model,
            "rank": rank,
            "loras": loras,
            "type": name,
            "layers": len(sample.layers),
            "merged": len(sample.chosen),
            "shapes": len(sample.of_each_shape(1)),
            "sides": found,
            "ratios": [ratio(found, over, under) for over, under in ratios],
            **({"steps": _steps(replace(ours, threads=1), sample, name)} if (rank, loras) in PROFILED else {}),
        }


def _steps(ours: Ours, sample: Sample, name: str) -> Figures:
    """Where ours spends its time, on one thread; one layer of each shape is enough where a type decomposes deltas."""
    names = list(sample.chosen)
    if name.endswith("_svd"):
        names = [layer for layers, _ in sample.of_each_shape(1) for layer in layers]
    with counted(MERGING) as seconds:
        ours.merge(names, name)
    return seconds


def _floor(pairs: pefts.Loras, sample: Sample, name: str, threads: int) -> Figures:
    """What no merge can do without; sampled as ours is."""
    if not name.endswith("_svd"):
        return times(floors.merge(pairs, sample.chosen, name, threads), sample.factor)
    return total(
        times(floors.merge(pairs, names, name, threads), factor) for names, factor in sample.of_each_shape(threads)
    )


def _theirs(pairs: pefts.Loras, sample: Sample, name: str, device: str) -> Figures:
    if decomposes(name):
        return pefts.merge_one_of_each(pairs, sample, name, device)
    return times(pefts.merge(pairs, sample.chosen, name, device), sample.factor)


@dataclass(frozen=True)
class Ours:
    """The factored engine. Whatever this benchmark uses of it is here."""

    base: Base
    pairs: pefts.Loras
    device: str
    threads: int

    def whole(self, sample: Sample, name: str) -> Figures:
        """What all layers take, from what some of them take."""
        if name == "svd" or not decomposes(name) or self.device != "cpu":
            return times(self.merge(sample.chosen, name), sample.factor)
        return total(times(self.merge(names, name), factor) for names, factor in sample.of_each_shape(self.threads))

    def merge(self, names: Sequence[str], combination_type: str) -> Figures:
        """What some layers take."""
        from loramerge.engines import factored
        from loramerge.merging.module import Part

        parts = [
            Part(f"lora{number}", {name: lora[name] for name in names}, dict.fromkeys(names, WEIGHTS[number]))
            for number, lora in enumerate(self.pairs)
        ]
        method = _method(combination_type)
        with stopwatch(self.device) as figures:
            factored.merge_component(
                self.base.components[self.base.main],
                parts,
                method,
                seed=0,
                device=self.device,
                finish=lambda _name, _inputs, _merged: None,
                threads=self.threads,
            )
        return figures


@cache
def _method(combination_type: str) -> Method:
    from pydantic import TypeAdapter

    from loramerge.methods import Merge

    settings: dict[str, Any] = {"combination_type": combination_type, **PARAMETERS[combination_type]}
    return TypeAdapter(Merge).validate_python(settings)


if __name__ == "__main__":
    tell(measured)
