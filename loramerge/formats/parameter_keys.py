"""What files call differences of parameters that are no layer's weight.

ComfyUI (comfy/lora.py) reads `.diff` and `.diff_b` of whatever has a weight, and `.diff` behind the whole name of what
is neither weight nor bias. LyCORIS (lycoris/modules/norms.py) has `w_norm` and `b_norm` for norms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from loramerge.deltas.parameter import ParameterDelta
from loramerge.errors import MismatchError
from loramerge.families.layout import WEIGHT, comfyui_name, key_of
from loramerge.messages import some

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.adapter import Modules
    from loramerge.bases.component import Component
    from loramerge.families.layout import Original

_BIAS = ".bias"


def comfyui_key(name: str) -> str:
    """`blocks.0.norm3.diff`, `blocks.0.norm3.diff_b`, `blocks.0.modulation.diff`.

    Args:
        name: The parameter's original name, without `.weight`.
    """
    named = key_of(comfyui_name(name))
    return f"{named.removesuffix(_BIAS)}.diff_b" if named.endswith(_BIAS) else f"{named}.diff"


def kohya_key(name: str, canonical: str, component: Component) -> tuple[str, str]:
    """What is written flat, and the ending: `w_norm` and `b_norm` of norms, else `diff` and `diff_b`.

    Args:
        name: The parameter's original name, without `.weight`.
        canonical: The base's name of it.
        component: Of the base.
    """
    is_bias = canonical.endswith(_BIAS)
    owner = component.others.get(canonical.removesuffix(_BIAS), ())
    weight, bias = ("w_norm", "b_norm") if len(owner) == 1 else ("diff", "diff_b")
    return key_of(comfyui_name(name)).removesuffix(_BIAS), bias if is_bias else weight


def check_kohya(name: str, originals: Mapping[str, Original] | None, component: Component, keys: Iterable[str]) -> None:
    """Raise where kohya's format has no key for a parameter: one that is neither a weight nor a bias there.

    Args:
        name: Of the LoRA.
        originals: All parameters by their original names; None where the canonical ones are written.
        component: Of the base.
        keys: What the LoRA has there.

    Raises:
        MismatchError: Names them.
    """
    names = (
        {part.canonical: name for name, original in originals.items() for part in original.parts} if originals else {}
    )
    wanted = {key: component.parameter(key) for key in keys}
    left = [
        f"{component.name}.{key}"
        for key, parameter in wanted.items()
        if not comfyui_name(names.get(parameter, parameter)).endswith((WEIGHT, _BIAS))
    ]
    if left:
        raise MismatchError(
            f"LoRA {name} has differences of {some(left)}, and `format: kohya` has keys for weights and biases alone",
            hint="write `format: comfyui`, or `kind: model`",
        )


def whole_norms(component: Component, modules: Modules) -> Modules:
    """The same, with zeros for the other half of a norm: A1111 and ComfyUI read weight and bias together."""
    if component.modules.keys() >= modules.keys():
        return modules
    found = dict(modules)
    for key in modules:
        other = key.removesuffix(_BIAS) if key.endswith(_BIAS) else f"{key}{_BIAS}"
        owner = component.others.get(key.removesuffix(_BIAS), ())
        if len(owner) == 1 and other in component.others and other not in modules:
            found[other] = _zeros(component.others[other])
    return dict(sorted(found.items()))


def _zeros(shape: tuple[int, ...]) -> ParameterDelta:
    def made() -> Tensor:
        import torch

        return torch.zeros(shape)

    return ParameterDelta(made, shape)
