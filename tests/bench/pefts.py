"""PEFT's side: its own `add_weighted_adapter`, on a model of nothing but the layers, without weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from measure import Figures, stopwatch, times, total
from models import PARAMETERS, WEIGHTS, Sample, Shape, decomposes

if TYPE_CHECKING:
    from torch import nn

    from loramerge import LowRank

Loras = Sequence[Mapping[str, "LowRank"]]


def arguments(combination_type: str) -> dict[str, Any]:
    """Those of `add_weighted_adapter` that say how to combine.

    `svd_full_matrices` is PEFT's faster choice: its default takes several times as long on layers that are not square.
    """
    faster = {"svd_full_matrices": False} if decomposes(combination_type) else {}
    return {"combination_type": combination_type, **PARAMETERS[combination_type], **faster}


def merge(loras: Loras, names: Sequence[str], combination_type: str, device: str) -> Figures:
    """What the call takes for some layers."""
    warnings.simplefilter("ignore")
    model = _model(loras, names, device)
    every = [_adapter(number) for number in range(len(loras))]
    with stopwatch(device) as figures:
        model.add_weighted_adapter(every, list(WEIGHTS[: len(loras)]), "merged", **arguments(combination_type))
    return figures


def merge_one_of_each(loras: Loras, sample: Sample, combination_type: str, device: str) -> Figures:
    """What it would take for all layers: the time of one of each shape, times the number of layers of that shape."""
    return total(
        times(merge(loras, names, combination_type, device), factor) for names, factor in sample.of_each_shape(1)
    )


def weightless(layer: nn.Module, device: str) -> nn.Module:
    """The same layer with one zero for all its weights: a merge of adapters reads none of them."""
    import torch

    for name, parameter in list(layer.named_parameters(recurse=False)):
        zeros = torch.zeros((), device=device).expand(parameter.shape)
        setattr(layer, name, torch.nn.Parameter(zeros, requires_grad=False))
    return layer


def _model(loras: Loras, names: Sequence[str], device: str) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    root = torch.nn.Module()
    for number, name in enumerate(names):
        root.add_module(f"layer{number}", _layer(loras[0][name].shape, device))
    model: Any = None
    for number, lora in enumerate(loras):
        rank = lora[names[0]].rank
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=r"layer\d+")
        if model is None:
            model = get_peft_model(root, config, adapter_name=_adapter(number), low_cpu_mem_usage=True)
        else:
            model.add_adapter(_adapter(number), config, low_cpu_mem_usage=True)
        for position, name in enumerate(names):
            layer = model.base_model.model.get_submodule(f"layer{position}")
            for half, tensor in ((layer.lora_A, lora[name].down), (layer.lora_B, lora[name].up)):
                half[_adapter(number)].weight = torch.nn.Parameter(tensor.to(device), requires_grad=False)
    return model.base_model


def _layer(shape: Shape, device: str) -> nn.Module:
    from torch import nn

    outputs, inputs, *kernel = shape
    layer = nn.Conv2d(inputs, outputs, tuple(kernel), bias=False, device="meta") if kernel else None
    return weightless(layer or nn.Linear(inputs, outputs, bias=False, device="meta"), device)


def _adapter(number: int) -> str:
    return f"lora{number}"
