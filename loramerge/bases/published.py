"""The bases that families were published with, for LoRAs that are read or written when no base is at hand."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from loramerge.bases.architecture import Architecture
from loramerge.bases.base import Base
from loramerge.bases.blocks import COMPONENTS
from loramerge.bases.component import Component
from loramerge.bases.on_demand import Components, ShapesOnDemand
from loramerge.families import published, title_of
from loramerge.families.layout import WEIGHT
from loramerge.families.sizes import layers_of, others_of

if TYPE_CHECKING:
    from loramerge.families import Family
    from loramerge.families.family import Config
    from loramerge.families.layout import Shapes


@cache
def architecture(name: str) -> Base:
    """A family's base by its published sizes. What a denoiser consists of is kept; text encoders are built.

    Args:
        name: A family, or a family and one of its sizes: `sdxl`, `flux/schnell`.
    """
    family, size, model = published(name)
    layers = layers_of(family.name, size)
    makers = {
        component: partial(_component, component, family, size, model.configs[component], layers.get(component))
        for component in COMPONENTS
        if component in model.configs
    }
    return Base(title_of(name), family, Components(makers), size=size, pipeline=model.pipeline)


def _component(name: str, family: Family, size: str, config: Config, layers: Shapes | None) -> Component:
    tables = family.tables(name, config)
    if layers is None:
        return Architecture.of(config).component(name, f"{family.title}: {name}", tables)

    def parameters() -> Shapes:
        weights = {f"{module}{WEIGHT}": shape for module, shape in layers.items()}
        return {**weights, **others_of(family.name, size).get(name, {})}

    return Component(
        name,
        config,
        modules=layers,
        live={module: module for module in layers},
        parameters=ShapesOnDemand(parameters),
        tables=tables,
    )
