"""What a combination type needs of its LoRAs; what PEFT gets wrong without a word is refused before it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from loramerge.errors import LoramergeError, MismatchError, UsageError
from loramerge.messages import by, counted
from loramerge.numerics.finite import is_finite

if TYPE_CHECKING:
    from loramerge.adapter import Adapter, LowRank
    from loramerge.bases.base import Base
    from loramerge.merging.module import Part
    from loramerge.methods import Method
    from loramerge.methods.svd_parameters import RankParameters

_FULL_DELTA = "use `cat`, which is exact at any mix of ranks, or `svd`"


def check_rank(name: str, adapter: Adapter, rank: int | None) -> None:
    """Compare a LoRA with the rank that its recipe promises.

    Raises:
        MismatchError: Any pair has another one.
    """
    if rank is None:
        return
    ranks = [(component, module, pair.trained_rank) for component, module, pair in adapter if pair.is_layer]
    others = [entry for entry in ranks if entry[2] != rank]
    if others:
        component, module, found = others[0]
        raise MismatchError(
            f"LoRA {name} should have rank {rank}; {len(others)} of {len(ranks)} modules differ, "
            f"first {component}.{module} with {found}",
            hint="use the file that the recipe means, or drop `rank`",
        )


def check_bound(name: str, adapter: Adapter) -> None:
    """Refuse to merge a DoRA without the base's weights.

    Raises:
        MismatchError: What the LoRA adds depends on them.
    """
    if any(pair.needs_weight for *_, pair in adapter):
        raise MismatchError(
            f"LoRA {name} is a DoRA: what it adds depends on the base's weights, and they are not there",
            hint="merge it by a recipe, with `dora: true` at the LoRA",
        )


def check_different(names: Sequence[str], adapters: Sequence[Adapter], method: Method) -> None:
    """Refuse the same LoRA given twice where that is no weighted sum.

    Raises:
        MismatchError: Factor-wise types multiply the weights of equal LoRAs with each other.
    """
    if not method.combines_factors:
        return
    for (first, one), (second, other) in combinations(zip(names, adapters, strict=True), 2):
        if one.equals(other):
            raise MismatchError(
                f"LoRAs {first} and {second} are equal, and `{method.combination_type}` would apply them more than "
                "twice as strongly as their weights say",
                hint="give one of them with the sum of the weights, or use `cat`",
            )


def check_several(names: Sequence[str], method: Method) -> None:
    """Refuse one LoRA for a type that merges several: PEFT takes any type for `linear` then.

    Args:
        names: Of the LoRAs that weigh anything.
        method: With its parameters, which would be ignored.

    Raises:
        MismatchError: Only `cat`, `linear` and `svd` mean something for one LoRA.
    """
    if len(names) == 1 and not method.takes_one:
        raise MismatchError(
            f"`{method.combination_type}` merges two or more LoRAs, and only {names[0]} weighs anything"
            + ("; PEFT would ignore the parameters of the type" if method.in_peft else ""),
            hint="use `cat`, which gives a single LoRA times its weight, or `svd`, which cuts it to svd_rank",
        )


def check_reference(names: Sequence[str], method: Method) -> None:
    """Refuse to leave to PEFT what it does not do.

    Args:
        names: Of the LoRAs.
        method: With its parameters.

    Raises:
        UsageError: Another engine, a type, space or rank that PEFT does not know, or one LoRA that is to be cut to a
            rank.
    """
    if (decomposition := method.decomposition) and decomposition.by_energy:
        raise UsageError("PEFT chooses no rank by energy", hint="give svd_rank as a number, `sum` or `max`")
    if method.decomposes and len(names) == 1:
        raise UsageError("PEFT takes a single LoRA as it is, whatever the rank", hint="leave out --reference")
    if method.unknown_to_peft:
        raise UsageError(f"PEFT has no `{method.unknown_to_peft}`", hint="leave out --reference")
    # Last: where another engine would be refused as well, to name it is no help.
    if method.engine != "peft":
        raise UsageError(
            f"the reference is PEFT's own merge, and the recipe says `engine: {method.engine}`",
            hint="add --set merge.engine=peft",
        )


def check_parts(component: str, parts: Sequence[Part], base: Base, method: Method, *, reference: bool) -> None:
    """Check the LoRAs of one component against the combination type.

    Args:
        component: Its name.
        parts: What each LoRA has there.
        base: Has the shapes.
        method: With its parameters.
        reference: Whether PEFT's own decomposition is used.

    Raises:
        MismatchError: More LoRAs than the type merges, unequal ranks for a factor-wise type, a rank that a module
            can't hold, or full differences that the type or its engine can't take.
    """
    _check_count(component, parts, method)
    _check_dense(component, parts, method)
    if method.combines_factors:
        _check_equal_ranks(component, parts, method)
    if (decomposition := method.decomposition) and len(parts) > 1:
        by_peft = reference or (method.engine == "peft" and decomposition.decomposed_by_peft)
        if by_peft or decomposition.is_one_rank:
            _check_convolutions(component, parts, base, decomposition, by_peft=by_peft)
        if by_peft and method.sign_elected:
            _check_one_weight(component, parts, method)


def _check_one_weight(component: str, parts: Sequence[Part], method: Method) -> None:
    """PEFT itself has one weight for each LoRA. Others would be in the deltas, and so in the election of signs."""
    for part in parts:
        if len({*part.weights.values()}) > 1:
            raise MismatchError(
                f"`{method.combination_type}` elects signs before it weighs, and PEFT's own decomposition can't where "
                f"modules of one LoRA weigh differently, as those of {part.name} in {component} do",
                hint="write `engine: factored`, leave out what asks for it (svd_clamp, svd_driver, --reference), or "
                "give the LoRA one weight",
            )


def _check_count(component: str, parts: Sequence[Part], method: Method) -> None:
    if method.most_loras is not None and len(parts) > method.most_loras:
        raise MismatchError(
            f"`{method.combination_type}` merges {method.most_loras} LoRAs, and {component} has {len(parts)}: "
            f"{', '.join(part.name for part in parts)}",
            hint="use `karcher`, a mean of any number of them",
        )


def _check_dense(component: str, parts: Sequence[Part], method: Method) -> None:
    """What has no factors worth having can be added and decomposed, and nothing else."""
    dense = [
        (part.name, module, pair.kind)
        for part in parts
        for module, pair in part.modules.items()
        if pair.is_dense or pair.needs_weight
    ]
    if not dense:
        return
    name, module, kind = dense[0]
    what = (
        f"LoRA {name} has {counted(len(dense), 'module')} that no low-rank pair holds, first {component}.{module} "
        f"({kind})"
    )
    if method.chosen_space is not None:
        raise MismatchError(
            f"{what}, and `space: {method.chosen_space}` is that of up and down factors",
            hint="leave out `space`, with a type that cuts to svd_rank, such as `ties_svd`",
        )
    if method.combines_factors:
        raise MismatchError(
            f"{what}, and `{method.combination_type}` combines up and down factors",
            hint="use `cat`, which is exact, or `svd`, which cuts the sum to svd_rank, with `engine: factored`",
        )
    if method.engine == "peft":
        raise MismatchError(
            f"{what}, and PEFT's add_weighted_adapter takes LoRAs alone", hint="merge with `engine: factored`"
        )
    if (decomposition := method.decomposition) and not (decomposition.is_one_rank or decomposition.by_energy):
        raise MismatchError(
            f"{what}, so there is no rank to take over for the result",
            hint="say the rank: `svd_rank: 32`, or what keeps a share of the energy: `svd_rank: {energy: 0.95}`",
        )


def _check_equal_ranks(component: str, parts: Sequence[Part], method: Method) -> None:
    for module in sorted({module for part in parts for module in part.modules}):
        ranks = {part.name: part.modules[module].rank for part in parts if module in part.modules}
        if len(set(ranks.values())) > 1:
            seen = " and ".join(f"{rank} ({name})" for name, rank in ranks.items())
            raise MismatchError(
                f"`{method.combination_type}` needs equal ranks; in {component}.{module} these have {seen}",
                hint=_FULL_DELTA,
            )


def _check_convolutions(
    component: str, parts: Sequence[Part], base: Base, method: RankParameters, *, by_peft: bool
) -> None:
    modules = [part.modules for part in parts]
    ranks = [max(pair.rank for pair in part.values()) for part in modules]
    rank = method.most(ranks, max(ranks)) or max(ranks)
    for module in sorted({module for part in modules for module in part}):
        shape = base.components[component].modules[module]
        largest = min(shape[0], math.prod(shape[1:]))
        if len(shape) > 2 and rank > largest:  # noqa: PLR2004  # a convolution: PEFT's reshape fails there
            raise MismatchError(
                f"the decomposition can't give {component}.{module} ({by(shape)}) rank {rank}: it can hold {largest}",
                hint=f"set svd_rank to {largest} or less, or use `cat`",
            )
        most = method.most_by_peft if by_peft else None
        if most is not None and rank * (shape[0] + math.prod(shape[1:])) > most:
            raise MismatchError(
                f"PEFT clamps factors of {most} numbers at most, and at rank {rank} {component}.{module} ({by(shape)}) "
                "has more",
                hint="leave out svd_clamp, set svd_rank to less, or write `engine: factored`",
            )


def check_finite(module: str, pair: LowRank, method: Method) -> None:
    """Go on only if all numbers of a merged module are.

    Raises:
        LoramergeError: NaN or infinity.
    """
    if not all(map(is_finite, [pair.matrix()] if pair.is_dense else [pair.down, pair.up])):
        raise LoramergeError(
            f"`{method.combination_type}` gave NaN or infinite values in {module}",
            hint="the weights are too large for float32",
        )
