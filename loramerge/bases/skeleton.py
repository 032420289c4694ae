"""A model's layers alone, by name and shape, on the meta device: all that PEFT has to know of a base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def skeleton(layers: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """A module tree with a linear layer or a convolution at each name, without biases and without memory.

    Args:
        layers: Name in memory → shape of the weight: out×in, or out×in and the kernel's one to three sizes. Modules
            come in this order, which is that in which PEFT visits them.
    """
    import torch
    from torch import nn

    convolutions: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    root = nn.Module()
    layer: nn.Module
    with torch.device("meta"):
        for name, (out, width, *kernel) in layers.items():
            *path, last = name.split(".")
            parent = root
            for part in path:
                if part not in parent._modules:  # noqa: SLF001  # has no public look-up that does not raise
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            if kernel:
                layer = convolutions[len(kernel)](width, out, kernel, bias=False)
            else:
                layer = nn.Linear(width, out, bias=False)
            parent.add_module(last, layer)
    return root.eval()
