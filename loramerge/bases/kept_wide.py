"""What classes of diffusers and transformers say of parameters that need more bits."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any


def kept_in(model: Any, library: str, layers: Collection[str]) -> dict[str, list[str]]:
    """Number format → parameters that must not have it, by their names in memory.

    Args:
        model: Of diffusers or transformers, on any device.
        library: Which of them.
        layers: Names of its linear and convolution layers.
    """
    always, in_half = _kept_modules(model, library)
    every = [name for name, _ in model.named_parameters()]
    strict = [name for name in every if always & {*name.split(".")}]
    half = [name for name in every if (always | in_half) & {*name.split(".")}]
    patterns = getattr(model, "_skip_layerwise_casting_patterns", None) or ()
    head = None if library != "transformers" else model.get_output_embeddings()
    skipped = [
        name
        for name in layers
        if any(re.search(pattern, name) for pattern in patterns)
        or (head is not None and model.get_submodule(name) is head)
    ]
    return {"float16": half, "bfloat16": strict, "float8": [*half, *(f"{name}.weight" for name in skipped)]}


def _kept_modules(model: Any, library: str) -> tuple[set[str], set[str]]:
    """Modules that are kept in float32 in any case, and those that are beside float16 alone."""
    named = {*(getattr(model, "_keep_in_fp32_modules", None) or ())}
    if library == "transformers":
        return {*(getattr(model, "_keep_in_fp32_modules_strict", None) or ())}, named
    return named, set()
