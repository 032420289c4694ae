"""One group of LoRAs: merged in every way, drawn, judged and scored."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compared.cases import Setting, scenes
from compared.judge import CONCEPTS, Judge
from compared.painting import Painter
from filled import filled_up, rank_of
from pydantic import TypeAdapter

from loramerge import WeightedAdapter, combine, load_adapter, load_base
from loramerge.analysis import fidelity
from loramerge.analysis.kept import directions, kept
from loramerge.analysis.overlap import overlaps
from loramerge.analysis.overlap_measures import summed
from loramerge.bases.quiet import quiet
from loramerge.merging.block_weights import weighing
from loramerge.methods import Merge


@dataclass(frozen=True)
class Plan:
    """What every process is told.

    Attributes:
        base: Folder of the miniature.
        loras: Name → file.
        settings: Ways to merge.
        seeds: Pictures of each group and way.
        steps: Of the sampler.
        guidance: Of the sampler.
        judge: Its weights.
        sheet: Groups of which pictures are kept.
        kept: Where what is finished lies.
        until: When no other group is begun, in seconds since 1970.
    """

    base: Path
    loras: dict[str, Path]
    settings: list[Setting]
    seeds: int
    steps: int
    guidance: float
    judge: dict[str, np.ndarray]
    sheet: tuple[tuple[str, ...], ...]
    kept: Path
    until: float


class Bench:
    """The miniature, the judge and the LoRAs, loaded once in each process."""

    def __init__(self, plan: Plan) -> None:
        torch.set_num_threads(1)
        self.plan = plan
        with quiet():
            self.paint = Painter(plan.base, plan.steps, plan.guidance)
        self.judge = Judge()
        self.judge.load_state_dict({name: torch.from_numpy(values) for name, values in plan.judge.items()})
        self.base = load_base(str(plan.base))
        self.adapters = {name: load_adapter(str(path), self.base) for name, path in plan.loras.items()}

    def group(self, names: tuple[str, ...]) -> dict[str, Any] | None:
        """All that is found of these LoRAs together, as plain data: as it lies there, or measured; None for no time."""
        path = self.plan.kept / f"{'-'.join(names)}-{self._digest(names)}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8")) | {"before": True}
        if time.time() > self.plan.until:
            return None
        found = plain(self._measured(names))
        path.with_suffix(".part").write_text(json.dumps(found), encoding="utf-8")
        path.with_suffix(".part").rename(path)
        return found

    def _digest(self, names: tuple[str, ...]) -> str:
        """Of all that decides what is found."""
        plan = self.plan
        said = [plan.seeds, plan.steps, plan.guidance, [str(way) for way in plan.settings], names in plan.sheet]
        found = hashlib.sha256(repr(said).encode())
        for content in (*(plan.loras[name].read_bytes() for name in names), *plan.judge.values()):
            found.update(content)
        return found.hexdigest()[:12]

    def _measured(self, names: tuple[str, ...]) -> dict[str, Any]:
        drawn = list(scenes(names, self.plan.seeds))
        found = {
            "group": names,
            "prompts": [prompt for prompt, _ in drawn],
            "base": self._judged(self.paint(drawn)),
            "alone": {name: self._judged(self.paint(drawn, self.adapters[name])) for name in names},
            "pairs": self._pairs(names),
            "ways": {},
        }
        for setting in self.plan.settings:
            if setting.takes(len(names)):
                found["ways"][str(setting)] = self._way(names, setting, drawn)
        return found if names in self.plan.sheet else without_pictures(found)

    def _judged(self, pictures) -> dict[str, Any]:
        return {"scores": self.judge.scores(pictures), "pictures": (pictures[:1] * 255).round().astype(np.uint8)}

    def _way(self, names, setting: Setting, drawn) -> dict[str, Any]:
        method = TypeAdapter(Merge).validate_python(
            {"combination_type": setting.type, "engine": "factored", **setting.parameters}
        )
        parts = {name: self.adapters[name] for name in names}
        if method.factor_wise and "space" not in setting.parameters:
            rank = max(rank_of(part) for part in parts.values())
            parts = {name: filled_up(part, rank) for name, part in parts.items()}
        begin = time.perf_counter()
        merged = combine(
            [WeightedAdapter(name, part, setting.weight) for name, part in parts.items()],
            self.base,
            method,
            device="cpu",
        )
        seconds = time.perf_counter() - begin
        entries = {
            (component, module): entry for component, each in merged.fidelity.items() for module, entry in each.items()
        }
        weights = {name: (self.adapters[name], weighing(name, setting.weight, self.base)) for name in names}
        held = kept(merged.adapter, directions(weights))
        return self._judged(self.paint(drawn, merged.adapter)) | {
            "seconds": seconds,
            "error": fidelity.total(entries),
            "energy": [held[name].energy for name in names],
            "share": [held[name].share for name in names],
        }

    def _pairs(self, names) -> dict[str, Any]:
        """What two LoRAs have to do with each other, whatever merges them; the mean over all pairs of the group."""
        loras = {name: (self.adapters[name], weighing(name, 1.0, self.base)) for name in names}
        both = [summed(pair.modules.values()) for pair in overlaps(loras)]
        return {
            "cosine": float(np.mean([abs(each.cosine or 0.0) for each in both])),
            "columns": float(np.mean([each.column_overlap or 0.0 for each in both])),
            "rows": float(np.mean([each.row_overlap or 0.0 for each in both])),
            "signs": float(np.mean([0.5 if each.sign_conflict is None else each.sign_conflict for each in both])),
        }


def without_pictures(value: Any) -> Any:
    """The same without what is kept for the sheet of pictures."""
    if isinstance(value, dict):
        return {key: without_pictures(each) for key, each in value.items() if key != "pictures"}
    return value


def plain(value: Any) -> Any:
    """As JSON has it, with four decimals."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    return round(value, 4) if isinstance(value, float) else value


def places(names) -> list[int]:
    """Where these concepts stand in the judge's scores."""
    return [CONCEPTS.index(name) for name in names]
