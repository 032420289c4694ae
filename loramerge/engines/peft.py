"""PEFT's own merge: a PeftModel with one adapter per LoRA, and `add_weighted_adapter`.

The base's weights play no part in it, so the model is built without them: every parameter is one zero, expanded to
its shape with stride 0. Results are those of the same call on the real base. One step of PEFT's is replaced by an exact
and faster one, unless the reference is asked for: the decomposition of the combined delta.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from loramerge.adapter import LowRank
from loramerge.bases.quiet import quiet
from loramerge.engines.exact_lora_model import RETAINED, WEIGHTS, exact_lora_model
from loramerge.engines.module_groups import groups_of
from loramerge.merging.module import Finish, Finished, Merged, Part, shares
from loramerge.numerics.threads import one_thread, workers

if TYPE_CHECKING:
    from torch import nn

    from loramerge.bases.base import Component
    from loramerge.methods import Method

_MERGED = "merged"


def merge_component(  # noqa: PLR0913  # what both engines take
    component: Component,
    parts: Sequence[Part],
    method: Method,
    *,
    seed: int,
    device: str,
    finish: Finish[Finished],
    advance: Callable[[], None] = lambda: None,
    reference: bool = False,
) -> dict[str, Finished]:
    """Merge the LoRAs of one component.

    Modules are visited in the order in which the architecture defines them, as PEFT does; the generator is seeded
    right before the call and restored after it.

    Args:
        component: The base's component.
        parts: The LoRAs, at least one module each. PEFT merges a single one as `linear`, whatever the method.
        method: The combination type with its parameters.
        seed: Of torch's global generator, which DARE draws from.
        device: `cpu` or `cuda`.
        finish: Gets the merged pair of every module that any LoRA touches, float32 on the CPU.
        advance: Called after each LoRA and after the merge.
        reference: Leave every step to PEFT, its decomposition as well.

    Returns:
        What `finish` made of each module, sorted by name.
    """
    found: dict[str, Finished] = {}
    groups, steps = groups_of(component, parts, method), len(parts) + 1
    merge = _Merge(component, parts, method, device, seed, reference=reference)
    for done, modules in enumerate(groups):
        found |= merge.of(modules, finish)
        # Whoever watches counts the LoRAs and the merge, whatever the number of groups.
        for _ in range(steps * done // len(groups), steps * (done + 1) // len(groups)):
            advance()
    return dict(sorted(found.items()))


class _Merge:
    """A call of `add_weighted_adapter` for some of the modules.

    Args:
        component: The base's component.
        parts: The LoRAs, with all of their modules.
        method: The combination type with its parameters.
        device: `cpu` or `cuda`.
        seed: Of torch's global generator, which random types draw from.
        reference: Leave every step to PEFT.
    """

    def __init__(
        self,
        component: Component,
        parts: Sequence[Part],
        method: Method,
        device: str,
        seed: int,
        *,
        reference: bool,
    ) -> None:
        self._component, self._parts, self._method, self._device, self._seed = component, parts, method, device, seed
        decomposition = method.decomposition
        self._ours = decomposition is not None and not (reference or decomposition.decomposed_by_peft)
        self._shared = list(map(_shared_weight, parts))

    def of(self, modules: Sequence[str], finish: Finish[Finished]) -> dict[str, Finished]:
        """Merge these modules."""
        component, method = self._component, self._method
        parts = [part.only([module for module in modules if module in part.modules]) for part in self._parts]
        with quiet(drawing=False):
            model = self._model(parts)
        names = [_adapter_name(position) for position in range(len(parts))]
        arguments = method.peft_arguments(list(map(_largest, self._parts)))
        if self._ours:
            model.base_model.__class__ = exact_lora_model()
            model.base_model.method = method
        with _seeded(self._seed, self._device), quiet(drawing=False), warnings.catch_warnings():
            # A density of 1 prunes nothing, and PEFT warns that it does not.
            warnings.filterwarnings("ignore", message="The density 1.0 is greater than or equal to 1")
            model.base_model.add_weighted_adapter(
                names, [1.0 if weight is None else weight for weight in self._shared], _MERGED, **arguments
            )

        def finished(module: str) -> Finished:
            import torch

            layer = model.base_model.model.get_submodule(component.live[module])
            down, up = layer.lora_A[_MERGED].weight.detach(), layer.lora_B[_MERGED].weight.detach()
            if method.concatenates:
                # `cat` allocates for all LoRAs everywhere: rows beyond those that touch this module are zeros.
                used = sum(part.modules[module].rank for part in parts if module in part.modules)
                down, up = down[:used], up[:, :used]
            pair = LowRank(down.to("cpu", torch.float32), up.to("cpu", torch.float32), float(layer.scaling[_MERGED]))
            return finish(module, shares(parts, module), Merged(pair, getattr(layer, RETAINED, None)))

        with one_thread(), workers() as pool:
            return dict(zip(modules, pool.map(finished, modules), strict=True))

    def _model(self, parts: Sequence[Part]) -> Any:
        from peft import get_peft_model

        component, method = self._component, self._method
        weights_apart = self._ours and method.sign_elected
        # Factor-wise types ask for one rank in all configs; what counts is that the ranks agree in each module.
        largest = list(map(_largest, self._parts))
        model: Any = None
        for position, (part, shared) in enumerate(zip(parts, self._shared, strict=True)):
            name = _adapter_name(position)
            config = _config(component, part, max(largest) if method.factor_wise else largest[position])
            if model is None:
                # PEFT looks through the whole model for each adapter, so a layer that no LoRA touches is left out.
                base = _weightless(component.skeleton({each for part in parts for each in part.modules}), self._device)
                model = get_peft_model(base, config, adapter_name=name, low_cpu_mem_usage=True)
            else:
                model.add_adapter(name, config, low_cpu_mem_usage=True)
            _load(model, component, part, name, self._device, shared=shared, weights_apart=weights_apart)
        return model


def _load(
    model: Any,
    component: Component,
    part: Part,
    name: str,
    device: str,
    *,
    shared: float | None,
    weights_apart: bool,
) -> None:
    import torch

    for module, pair in part.modules.items():
        layer = model.base_model.model.get_submodule(component.live[module])
        for half, tensor in ((layer.lora_A, pair.down), (layer.lora_B, pair.up)):
            half[name].weight = torch.nn.Parameter(tensor.to(device, torch.float32), requires_grad=False)
        layer.scaling[name] = pair.scale
        if shared is None and weights_apart:
            # Weights have no part in an election of signs, so they stay out of the deltas.
            setattr(layer, WEIGHTS, {**getattr(layer, WEIGHTS, {}), name: part.weights[module]})
        elif shared is None:
            # A weight of its own per module goes where PEFT multiplies it with the weight anyway.
            layer.scaling[name] *= part.weights[module]


def _shared_weight(part: Part) -> float | None:
    weights = set(part.weights.values())
    return weights.pop() if len(weights) == 1 else None


def _largest(part: Part) -> int:
    return max(pair.rank for pair in part.modules.values())


def _config(component: Component, part: Part, rank: int) -> Any:
    from peft import LoraConfig

    ranks: dict[int, list[str]] = {}
    for module, pair in part.modules.items():
        ranks.setdefault(pair.rank, []).append(component.live[module])
    # Exact names: PEFT matches a list by the ends of names, and hits modules that the LoRA does not have.
    return LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=_any_of([component.live[module] for module in part.modules]),
        rank_pattern={f"^(?:{_any_of(live)})": own for own, live in ranks.items() if own != rank},
    )


def _any_of(names: Sequence[str]) -> str:
    return "|".join(map(re.escape, sorted(names)))


def _adapter_name(position: int) -> str:
    # Names of recipes may hold dots or be `keys`: torch would take them for its own.
    return f"lora_{position}"


def _weightless(model: nn.Module, device: str) -> nn.Module:
    import torch

    zero = torch.zeros((), dtype=torch.float32, device=device)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, torch.nn.Parameter(zero.expand(parameter.shape), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.zeros((), dtype=buffer.dtype, device=device).expand(buffer.shape))
    return model


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    import torch

    with torch.random.fork_rng(devices=[torch.device(device)] if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        yield
