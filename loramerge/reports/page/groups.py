"""The modules of a merge in the groups that a page shows: by block, and by kind of layer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loramerge.bases.anatomy import Anatomy
from loramerge.bases.anatomy import label as bare
from loramerge.bases.blocks import KINDS, block_of
from loramerge.families import FAMILIES

ALL = "all"
_SHORT = {
    "modulation": "modu-\nlation",
    "self-attention": "self\nattn",
    "cross-attention": "cross\nattn",
    "attention": "attn",
    "feed-forward": "feed\nforward",
    "projections": "proj",
    "resnets": "resnet",
    "samplers": "sampler",
}


@dataclass(frozen=True)
class ReportedModule:
    """One module of the merge, as report.json has it.

    Attributes:
        component: `unet`, `transformer`, `text_encoder` and the like.
        name: In the base.
        part: The row of its block, or the text encoder.
        kind: The kind of layer.
        ranks: Of each LoRA that touches it, by name; 0 of what is no layer's weight.
        norms: Of each LoRA's weighted delta.
        rank: Of the merged pair; 0 of what is no layer's weight.
        norm: Of the merged delta.
        target: Norm of the weighted sum.
        error: Relative error; None where the weighted sum is zero.
        retained: Share of the energy that was kept when the merge was cut to a rank; None where it was not.
    """

    component: str
    name: str
    part: str
    kind: str
    ranks: Mapping[str, int]
    norms: Mapping[str, float]
    rank: int
    norm: float
    target: float
    error: float | None
    retained: float | None


@dataclass(frozen=True)
class ModuleGroup:
    """Modules that belong together."""

    modules: Sequence[ReportedModule]

    @property
    def error(self) -> float | None:
        """Relative error of all together."""
        target = math.hypot(*(module.target for module in self.modules))
        # Where the weighted sum is zero, all that is there is wrong.
        off = (module.norm if module.error is None else module.error * module.target for module in self.modules)
        return math.hypot(*off) / target if target > 0 else None

    @property
    def retained(self) -> float | None:
        """Share of the energy that was kept of those that were cut to a rank."""
        cut = [module for module in self.modules if module.retained]
        whole = math.fsum(module.norm**2 / (module.retained or 1.0) for module in cut)
        return math.fsum(module.norm**2 for module in cut) / whole if whole > 0 else None

    @property
    def norm(self) -> float:
        """Of the merged deltas."""
        return math.hypot(*(module.norm for module in self.modules))

    @property
    def target(self) -> float:
        """Of the weighted sum."""
        return math.hypot(*(module.target for module in self.modules))

    def norm_of(self, lora: str) -> float | None:
        """Of one LoRA's weighted deltas; None where it touches none."""
        found = [module.norms[lora] for module in self.modules if lora in module.norms]
        return math.hypot(*found) if found else None

    @property
    def ranks(self) -> str:
        """Of the merged pairs: `8`, or `4-8` where modules differ."""
        return _range(module.rank for module in self.modules)

    def ranks_of(self, lora: str) -> str:
        """Of one LoRA's pairs; empty where it touches none."""
        return _range(module.ranks[lora] for module in self.modules if lora in module.ranks)


def _range(ranks: Iterable[int]) -> str:
    found = sorted({rank for rank in ranks if rank})
    return "" if not found else str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"


def anatomy_of(report: Mapping[str, Any]) -> Anatomy:
    """The blocks of a report's base."""
    family = FAMILIES.get(report["base"]["family"])
    return Anatomy(tuple(report["base"]["blocks"]), family.kinds if family else {})


def modules_of(report: Mapping[str, Any], anatomy: Anatomy) -> list[ReportedModule]:
    """All modules of a report, block by block."""
    found = [
        ReportedModule(
            component=component,
            name=name,
            part=anatomy.part_of(component, name),
            kind=anatomy.kind_of(name),
            ranks=entry["ranks"],
            norms=entry["norms"],
            rank=entry["rank"],
            norm=entry["norm"],
            target=entry["target_norm"],
            error=entry["error"],
            retained=entry.get("retained_energy"),
        )
        for component, part in report["fidelity"].items()
        for name, entry in part["modules"].items()
    ]
    return sorted(found, key=lambda module: anatomy.place(block_of(module.component, module.name)))


def grouped(modules: Iterable[ReportedModule]) -> dict[tuple[str, str], ModuleGroup]:
    """(part, kind of layer) → the modules there, and (part, `all`) → all of the part's; parts in the modules' order."""
    found: dict[tuple[str, str], list[ReportedModule]] = {}
    for module in modules:
        found.setdefault((module.part, module.kind), []).append(module)
        found.setdefault((module.part, ALL), []).append(module)
    return {key: ModuleGroup(each) for key, each in found.items()}


def rows_of(keys: Iterable[tuple[str, str]]) -> list[str]:
    """The parts, each once, in their order."""
    return list(dict.fromkeys(part for part, _ in keys))


def columns_of(keys: Iterable[tuple[str, str]]) -> list[str]:
    """The kinds of layers that there are, in their order, and `all`."""
    present = {kind for _, kind in keys}
    return [kind for kind in (*KINDS, ALL) if kind in present]


def short(kind: str) -> str:
    """A kind of layer, for the head of a narrow column."""
    return _SHORT.get(kind, kind)


def label(part: str) -> str:
    """`unet.down_blocks.0` as `down 0`, `transformer.blocks.4-7` as `blocks 4-7`, `text_encoder` as `text encoder`."""
    if part.startswith("text_encoder"):
        return part.replace("_", " ")
    if found := re.fullmatch(r"unet\.(down|up|mid)_blocks?(?:\.(\d+))?", part):
        return " ".join(filter(None, found.groups()))
    return re.sub(r"\.(?=\d+(-\d+)?$)", " ", bare(part))
