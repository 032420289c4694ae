"""Where to compute."""

from __future__ import annotations

from loramerge.errors import LoramergeError, UsageError

DEVICES = ("auto", "cpu", "cuda")


def chosen_device(device: str) -> str:
    """`cpu` or `cuda`.

    Args:
        device: One of `DEVICES`; `auto` takes CUDA where there is one.

    Raises:
        UsageError: There is no device of that name.
        LoramergeError: There is no CUDA device here.
    """
    import torch

    if device not in DEVICES:
        raise UsageError(f"there is no device {device!r}", hint="use auto, cpu or cuda")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise LoramergeError("there is no CUDA device here", hint="use --device cpu, or auto")
    return "cuda" if device != "cpu" and available else "cpu"
