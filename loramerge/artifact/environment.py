"""What computed an artifact: versions, and what decides how sums are rounded."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

_LIBRARIES = ("torch", "peft", "diffusers", "transformers", "safetensors", "numpy", "matplotlib")


def environment(device: str) -> dict[str, str]:
    """What computed the merge: versions, and what decides how sums are rounded."""
    import torch

    found = versions()
    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": device,
        "loramerge": found.pop("loramerge"),
        "machine": platform.machine(),
        **found,
    }


def versions() -> dict[str, str]:
    """Versions that decide bytes; none of the libraries is loaded for them."""
    libraries = {name: _version(name) for name in _LIBRARIES}
    return {"loramerge": _version("loramerge"), "python": platform.python_version(), **libraries}


@cache
def _version(library: str) -> str:
    """Read once: every picture says with which versions it was drawn."""
    return version(library)
