"""Models of diffusers, built from configs: small ones with weights, published ones without."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from diffusers.loaders import single_file_utils

from loramerge.families import FAMILIES
from loramerge.families.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from families.rows import Row

    from loramerge.families.layout import Shapes

LAYERS = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)


def config_of(row: Row) -> dict[str, Any]:
    """What its config.json says."""
    return {"_class_name": row.class_name or FAMILIES[row.family].classes[0], **row.tiny}


def built(config: Mapping[str, Any]) -> torch.nn.Module:
    """A model that a config.json says, on the device that is the default."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # upstream's words on its own classes
        return getattr(diffusers, config["_class_name"]).from_config(dict(config))


@functools.cache
def tensors_of(row: Row) -> Mapping[str, torch.Tensor]:
    """Every tensor of a tiny model, with numbers of which no two are alike."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in built(config_of(row)).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}


def converter_of(row: Row) -> Any:
    """diffusers' function with the tiny model's sizes in place of the real one's."""
    source = inspect.getsource(getattr(single_file_utils, row.converter))
    for real, tiny in row.sizes.items():
        assert real in source
        source = source.replace(real, tiny)
    names = dict(vars(single_file_utils))
    exec(source, names)  # noqa: S102  upstream's own function, but for its constants
    return names[row.converter]


def shapes_of(row: Row) -> Shapes:
    """Shape of every tensor of a tiny model."""
    return {name: tuple(tensor.shape) for name, tensor in tensors_of(row).items()}


def layout_of(row: Row, shapes: Shapes) -> Layout:
    """The original names of a tiny model's tensors, or of its layers."""
    return Layout(FAMILIES[row.family].rules(config_of(row)), shapes)


def layers_of(config: Mapping[str, Any]) -> Shapes:
    """Shape of the weight of every layer that a LoRA can change, by its module's name."""
    with torch.device("meta"):
        modules = dict(built(config).named_modules())
    return {
        name: tuple(module.weight.shape)
        for name, module in modules.items()
        if isinstance(module, LAYERS) and getattr(module, "groups", 1) == 1
    }


def in_original_names(layout: Layout, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors as the original checkpoint has them."""
    return {name: _assembled(original, tensors) for name, original in layout.originals.items()}


def _assembled(original: Any, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if not original.shape:
        return tensors[original.parts[0].canonical]
    whole = torch.full(original.shape, torch.nan, dtype=tensors[original.parts[0].canonical].dtype)
    for part in original.parts:
        row = 0
        for start, stop in part.spans:
            whole[start:stop] = tensors[part.canonical][row : row + stop - start]
            row += stop - start
    return whole
