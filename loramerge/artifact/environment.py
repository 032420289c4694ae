"""What computed an artifact: versions, and what decides how sums are rounded."""

from __future__ import annotations

import platform
from importlib.metadata import version

_LIBRARIES = ("torch", "peft", "diffusers", "transformers", "safetensors", "numpy", "matplotlib")


def environment(device: str) -> dict[str, str]:
    """What computed the merge: versions, and what decides how sums are rounded."""
    import torch

    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": device,
        "loramerge": version("loramerge"),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }
