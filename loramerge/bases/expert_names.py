"""Where a model of transformers has experts, and what checkpoints call their layers, as its classes say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from loramerge.bases.experts import NUMBER, Stack, numbered, slice_of

_AXES = 3
_WEIGHT = ".weight"
_PROBE = 987654321
"""No other number in a name is this one, so that an expert's is found again."""


def stacks_of(model: Any) -> dict[str, Stack]:
    """Parameter in memory → what it holds.

    Args:
        model: Of transformers, on any device.
    """
    names, found = _LayerNames(model), {}
    for path, module in model.named_modules():
        is_transposed = getattr(module, "is_transposed", None)
        if is_transposed is None and "expert" not in type(module).__name__.lower():
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim == _AXES:
                whole = f"{path}.{name}"
                live, canonical = names.layers(whole, turned=bool(is_transposed))
                found[whole] = Stack(tuple(parameter.shape), bool(is_transposed), live, canonical)
    return found


def routers_of(model: Any, layers: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Shape of the weight of each layer that chooses among experts, out×in: linear, of a class of its own.

    Args:
        model: Of transformers, on any device.
        layers: Those that are known.
    """
    known = {*layers}
    return {
        path: tuple(module.weight.shape)
        for path, module in model.named_modules()
        if path not in known
        and "router" in type(module).__name__.lower()
        and getattr(getattr(module, "weight", None), "ndim", 0) == _AXES - 1
    }


class _LayerNames:
    """What checkpoints call the layers of experts, by transformers' own rules.

    Args:
        model: Of transformers.
    """

    def __init__(self, model: Any) -> None:
        self._renaming: Sequence[Any] = ()
        self._merging: Sequence[Any] = ()
        try:
            from transformers.conversion_mapping import get_model_conversion_mapping
            from transformers.core_model_loading import PrefixChange, WeightConverter
        except ImportError:  # before 5 experts were layers
            return
        rules = get_model_conversion_mapping(model, add_legacy=False)
        self._merging = [each for each in rules if isinstance(each, WeightConverter)]
        self._renaming = [each for each in rules if not isinstance(each, WeightConverter | PrefixChange)]

    def layers(self, parameter: str, *, turned: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names in memory and in checkpoints of the layers that a parameter holds for each expert.

        Where no rule says them, there is one, and it is called after the parameter.
        """
        for rule in () if turned else self._merging:
            if _puts_layers_together(rule) and (found := self._by(rule, parameter)):
                return found
        own = (slice_of(parameter),)
        return own, own

    def _by(self, rule: Any, parameter: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        from transformers.core_model_loading import rename_source_key

        target = rule.target_patterns[0].replace("\\", "")
        if not parameter.endswith(target):
            return None
        start = parameter.removesuffix(target)
        live = tuple(start + each.replace("\\", "").replace("*", NUMBER) for each in rule.source_patterns)
        back = [each.reverse_transform() for each in reversed(self._renaming)]
        canonical = []
        for name in live:
            key, _ = rename_source_key(numbered(name, _PROBE), back, [])
            again, _ = rename_source_key(key, self._renaming, [rule])
            # A rule that can't be turned round says nothing.
            if again != parameter or key.count(str(_PROBE)) != 1:
                return None
            canonical.append(key.replace(str(_PROBE), NUMBER).removesuffix(_WEIGHT))
        return tuple(each.removesuffix(_WEIGHT) for each in live), tuple(canonical)


def _puts_layers_together(rule: Any) -> bool:
    """Whether a rule makes a parameter of a layer for each expert, or of several, one below the other."""
    steps = [(type(each).__name__, getattr(each, "dim", None)) for each in rule.operations]
    is_one = len(rule.target_patterns) == 1 and all(each.count("*") == 1 for each in rule.source_patterns)
    return is_one and steps in ([("MergeModulelist", 0)], [("MergeModulelist", 0), ("Concatenate", 1)])
