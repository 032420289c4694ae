"""What computed an artifact: versions, and what decides how sums are rounded."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

_LIBRARIES = ("torch", "peft", "diffusers", "transformers", "safetensors", "numpy", "matplotlib")


def environment(device: str) -> dict[str, str]:
    """What computed the merge: versions, and what decides how sums are rounded."""
    import torch

    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": device,
        "loramerge": _version("loramerge"),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _LIBRARIES},
    }


@cache
def _version(library: str) -> str:
    """Read once: every picture says with which versions it was drawn."""
    return version(library)
