"""Which rule merges what: a recipe's combination type, and those of parts of the model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.errors import MismatchError
from loramerge.merging import checks
from loramerge.merging.matching import matching
from loramerge.merging.module import Part
from loramerge.merging.parameters import apart_in_each
from loramerge.merging.whole_parameters import WholeParameters
from loramerge.messages import some

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.merging.block_weights import Weighing
    from loramerge.methods import Method, PartRule
    from loramerge.stages.combine import WeightedAdapter

Parts = Mapping[str, Mapping[str, Part]]
"""By component what each LoRA brings to it."""


@dataclass(frozen=True)
class Division:
    """A rule and what it merges.

    Attributes:
        method: The combination type with its parameters.
        match: What of the model it is for; none for what no part is for.
        parts: By component what each LoRA brings to it.
        left: LoRA → how many of its modules take no part there, because the rule takes others.
    """

    method: Method
    match: tuple[str, ...]
    parts: Parts
    left: Mapping[str, int]

    @property
    def modules(self) -> int:
        """How many modules it merges."""
        return sum(len({name for part in each.values() for name in part.modules}) for each in self.parts.values())

    @property
    def note(self) -> str:
        """What is to be said of modules that take no part; empty where all do."""
        if not self.left:
            return ""
        left = some(f"{count} of {name}" for name, count in self.left.items())
        taken = " and ".join(self.method.taken or ())
        return f"{quoted(self.match)}: only {taken} counts there; modules of others take no part ({left})"


def part_of(component: str, lora: WeightedAdapter, weigh: Weighing) -> Part | None:
    """What of a component a LoRA brings to a merge; None where nothing weighs anything."""
    modules = lora.adapter.components.get(component, {})
    weights = {module: weigh(component, module) for module in modules}
    kept = {module: pair for module, pair in modules.items() if weights[module] != 0}
    return Part(lora.name, kept, {module: weights[module] for module in kept}) if kept else None


def whole_parameters(loras: Sequence[WeightedAdapter], by_component: Parts) -> WholeParameters:
    """What the LoRAs that weigh anything trained in full.

    Raises:
        MismatchError: There is no such merge.
    """
    weighty = {name for parts in by_component.values() for name in parts}
    return WholeParameters.of({lora.name: lora.adapter for lora in loras if lora.name in weighty})


def divided(by_component: Parts, method: Method, base: Base, names: Collection[str]) -> tuple[Division, ...]:
    """What each rule of a method merges; the first is for what no part is for.

    Args:
        by_component: By component what each LoRA brings to it.
        method: With its parts.
        base: Has the blocks.
        names: Of all LoRAs.

    Raises:
        MismatchError: A part names what the base does not have, nothing that a LoRA touches, or what another one names.
    """
    rules = method.parts or ()
    if not rules:
        return (Division(method, (), by_component, {}),)
    owners = _owners(by_component, rules, base)
    divisions = []
    for place, rule in enumerate(method.rules, start=-1):
        parts, left = _taken(_owned(by_component, owners, place), rule, base, names)
        if place >= 0 and not parts:
            _refuse_none_taken(rules[place], left)
        if parts:
            divisions.append(Division(rule, rules[place].matches if place >= 0 else (), parts, left))
    return tuple(divisions)


def check_divisions(divisions: Sequence[Division], names: Sequence[str], base: Base, *, reference: bool) -> None:
    """Check the LoRAs of each division against its combination type.

    Args:
        divisions: All of them.
        names: Of the LoRAs that weigh anything.
        base: Has the shapes.
        reference: Whether every step is left to PEFT itself.

    Raises:
        MismatchError: A type can't take them.
    """
    for division in divisions:
        checks.check_several(names, division.method)
        for component, parts in apart_in_each(division.parts, layers=True).items():
            checks.check_parts(component, list(parts.values()), base, division.method, reference=reference)


def joined(divisions: Sequence[Division]) -> dict[str, dict[str, Part]]:
    """By component what each LoRA brings to any of them, in the order of the first."""
    found: dict[str, dict[str, Part]] = {}
    for division in divisions:
        for component, parts in division.parts.items():
            for name, part in parts.items():
                known = found.setdefault(component, {}).get(name)
                found[component][name] = part if known is None else known.with_others(part)
    return found


def _owners(by_component: Parts, rules: Sequence[PartRule], base: Base) -> dict[tuple[str, str], int]:
    """(component, module) → the rule that is for it."""
    modules = {
        (component, module)
        for component, parts in by_component.items()
        for part in parts.values()
        for module in part.modules
    }
    owners: dict[tuple[str, str], int] = {}
    for place, rule in enumerate(rules):
        means = {match: matching(_where(rule), match, base) for match in rule.matches}
        for match, meant in means.items():
            if not any(meant(*each) for each in modules):
                raise MismatchError(
                    f"{_where(rule)}: no LoRA touches `{match}`, so nothing is merged there",
                    hint="leave it out, or match what the LoRAs touch: `loramerge inspect` lists their blocks",
                )
        for each in sorted(modules):
            if any(meant(*each) for meant in means.values()):
                other = owners.setdefault(each, place)
                if other != place:
                    raise MismatchError(
                        f"{_where(rule)}: {'.'.join(each)} is in {quoted(rules[other].matches)} and in "
                        f"{quoted(rule.matches)}; a module has one rule",
                        hint="name what is left, as down.block_0 in the place of down",
                    )
    return owners


def _owned(by_component: Parts, owners: Mapping[tuple[str, str], int], place: int) -> Iterator[tuple[str, str, Part]]:
    """(component, LoRA, what it brings) of the modules that a rule is for; those that no part is for, at -1."""
    for component, parts in by_component.items():
        for name, part in parts.items():
            kept = [module for module in part.modules if owners.get((component, module), -1) == place]
            if kept:
                yield component, name, part.only(kept)


def _taken(
    owned: Iterator[tuple[str, str, Part]], rule: Method, base: Base, names: Collection[str]
) -> tuple[dict[str, dict[str, Part]], dict[str, int]]:
    """The parts that count, and how many modules of each other LoRA are left."""
    # A LoRA that has a file for each denoiser is several, called after it and the denoiser.
    taken = {
        each
        for name in rule.taken or ()
        for each in ([name] if name in names else [f"{name}-{denoiser}" for denoiser in base.denoisers])
    }
    parts: dict[str, dict[str, Part]] = {}
    left: dict[str, int] = {}
    for component, name, part in owned:
        if rule.taken is None or name in taken:
            parts.setdefault(component, {})[name] = part
        else:
            left[name] = left.get(name, 0) + len(part.modules)
    return parts, left


def _refuse_none_taken(rule: PartRule, left: Mapping[str, int]) -> None:
    raise MismatchError(
        f"{_where(rule)}: no module of {' and '.join(rule.taken or ())} is in {quoted(rule.matches)}, so the part "
        f"merges nothing; {' and '.join(left)} have modules there",
        hint="leave the part out, or take one of these",
    )


def _where(rule: PartRule) -> str:
    return rule.place or f"part `{rule.combination_type}`"


def quoted(matches: Sequence[str]) -> str:
    """What a part is for, for messages."""
    return ", ".join(f"`{match}`" for match in matches)
