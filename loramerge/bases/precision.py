"""Which parameters of a model must not be written in fewer bits: the libraries' classes say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loramerge.bases.architecture import Architecture
from loramerge.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from loramerge.bases.checkpoint import Checkpoint
    from loramerge.bases.component import Component

_WIDEST = "float32"
FLOAT8 = ("float8_e4m3fn", "float8_e5m2")


def stays(component: Component, dtype: str, keys: Collection[str], names: Mapping[str, str]) -> frozenset[str]:
    """Tensors of a component that keep their number format in an output of another.

    In 16 bits that is what the class keeps in float32 when it is loaded so (diffusers' and transformers'
    `_keep_in_fp32_modules`). In 8 bits it is everything but the weights of linear and convolution layers, and of these
    what diffusers leaves out of its own layerwise casting (`_skip_layerwise_casting_patterns`).

    Args:
        component: Has the layers.
        dtype: Of the output.
        keys: Names of the tensors.
        names: The same → names of parameters, where they differ.
    """
    if dtype == _WIDEST:
        return frozenset()
    known = with_precision(component)
    if dtype in FLOAT8:
        kept = known.kept["float8"]
        narrow = {f"{layer}.weight" for layer in known.modules} - kept
        return frozenset(key for key in keys if names.get(key, key) not in narrow)
    kept = known.kept.get(dtype, frozenset())
    return frozenset(key for key in keys if names.get(key, key) in kept)


def stays_in_file(
    components: Mapping[str, Component], checkpoint: Checkpoint, dtype: str, keys: Collection[str]
) -> frozenset[str]:
    """The same of a file that holds several components, and more.

    Args:
        components: By name.
        checkpoint: How the file names them.
        dtype: Of the output.
        keys: Names of its tensors.
    """
    if dtype == _WIDEST:
        return frozenset()
    kept: set[str] = set()
    narrow: set[str] = set()
    for name, part in checkpoint.parts.items():
        known = with_precision(components[name])
        weights = {f"{layer}.weight" for layer in known.modules} - known.kept["float8"]
        wide = known.kept.get(dtype, frozenset())
        places = part.parameters(known.parameters)
        narrow |= {key for key, parameters in places.items() if parameters <= weights}
        kept |= {key for key, parameters in places.items() if parameters & wide}
    return frozenset(key for key in keys if key not in narrow) if dtype in FLOAT8 else frozenset(kept)


def with_precision(component: Component) -> Component:
    """The component with what its class says of its numbers; of a published size the class has not been asked yet."""
    if component.kept:
        return component
    return Architecture.of(component.config).component(component.name, component.name, component.tables)


def stays_of_another(
    config: Mapping[str, Any], entry: tuple[str, str], dtype: str, keys: Collection[str]
) -> frozenset[str]:
    """The same of a component that LoRAs do not touch, such as a VAE: in 8 bits all of it.

    Args:
        config: Its config.json.
        entry: Library and class, as model_index.json has them.
        dtype: Of the output.
        keys: Names of its tensors.
    """
    if dtype in FLOAT8:
        return frozenset(keys)
    if dtype == _WIDEST:
        return frozenset()
    try:
        known = Architecture.of(config, *entry).component("", entry[1])
    except SourceError:  # a class that nobody knows says nothing
        return frozenset()
    return frozenset(keys) & known.kept.get(dtype, frozenset())
