"""What a model consists of, by name and shape, kept between runs.

diffusers and transformers know it, but importing them takes longer than many a merge.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from loramerge.bases.experts import Stack
from loramerge.files.atomic import replacing_file
from loramerge.files.cache import cache_folder
from loramerge.files.reading import content_of

_LAYOUT = 6  # of an entry; to be counted up whenever what is kept changes its meaning
_FOLDER = "shapes"
_BUILDERS = ("diffusers", "transformers")

Named = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Shapes:
    """A model without its numbers. Names are those that it has in memory.

    Attributes:
        layers: Shape of the weight (out×in, or out×in×kh×kw) of every linear and convolution layer, in the order in
            which the architecture defines them.
        parameters: Shape of every parameter, in that order too.
        transposed: Of the linear layers, those that keep their weight as in×out, as all of GPT-2 do.
        tied: Parameter → the one whose numbers it has as well, such as an output layer's weight and the embedding's.
        kept: Number format, or `float8` for any of them → parameters that must not have it.
        renamed: Name in memory → name in checkpoints, of the layers of a model of transformers that have two.
        stacks: Parameters that have the weights of a layer's experts.
        routers: Of the linear layers, those whose class is their own, so that PEFT takes the weight for a parameter.
    """

    layers: Named
    parameters: Named
    renamed: Mapping[str, str] = field(default_factory=dict)
    transposed: Sequence[str] = ()
    tied: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stacks: Mapping[str, Stack] = field(default_factory=dict)
    routers: Sequence[str] = ()


def shapes_of(architecture: str, config: Mapping[str, Any], build: Callable[[], Shapes]) -> Shapes:
    """The shapes that are kept for a model, or those that `build` finds, which are kept then.

    A damaged entry is made again. Where none can be written, the next run builds the model again as well.

    Args:
        architecture: The model's class.
        config: Its config.json.
        build: Builds the model with the libraries that are installed; called only where nothing is kept.
    """
    versions = _versions()
    if any("dev" in versions[name] for name in _BUILDERS):  # their code changes, and the version stays
        return build()
    identity = {"layout": _LAYOUT, "versions": versions, "architecture": architecture, "config": config}
    name = f"{_digest(json.dumps(identity, sort_keys=True))}.json"
    return _kept(name) or _keep(name, build())


@cache
def _versions() -> dict[str, str]:
    """Read once: every component asks for them."""
    from importlib.metadata import version  # takes longer to load than most of what is read without a model

    return {name: version(name) for name in ("loramerge", *_BUILDERS)}


def _kept(name: str) -> Shapes | None:
    try:
        entry = json.loads(content_of(cache_folder() / _FOLDER / name))
        if _digest(json.dumps(entry["shapes"])) != entry["sha256"]:
            return None
        kept = entry["shapes"]
        renamed, tied = (dict(kept[each].items()) for each in ("renamed", "tied"))
        wide = {dtype: tuple(names) for dtype, names in kept["kept"].items()}
        shapes = _tuples(kept["layers"]), _tuples(kept["parameters"])
        stacks = {name: Stack.kept(each) for name, each in kept["stacks"].items()}
        return Shapes(*shapes, renamed, tuple(kept["transposed"]), tied, wide, stacks, tuple(kept["routers"]))
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _tuples(shapes: Mapping[str, list[int]]) -> Named:
    return {name: tuple(shape) for name, shape in shapes.items()}


def _keep(name: str, shapes: Shapes) -> Shapes:
    plain = asdict(shapes)
    entry = {"sha256": _digest(json.dumps(plain)), "shapes": plain}
    with suppress(OSError, RuntimeError):  # the next run is slower, and nothing else
        folder = cache_folder() / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with replacing_file(folder / name) as file:
            file.write(json.dumps(entry).encode())
    return shapes


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
