"""Too little memory is told from defects, and the hint names what helps on that device."""

from __future__ import annotations

import pytest
import torch

from loramerge.previews.out_of_memory import MemoryShortageError, naming_shortage
from loramerge.recipe import Preview


def hint(error, device, **settings):
    with (
        pytest.raises(MemoryShortageError) as caught,
        naming_shortage(Preview(prompts=("x",), **settings), (64, 32), device),
    ):
        raise error
    return caught.value.hint


def test_a_gpu_is_helped_by_offloading_first():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    assert hint(error, "cuda", batch_size=4) == (
        "lower preview.batch_size from 4, or set preview.memory: offload, or lower preview.width and preview.height "
        "from 64×32, or use --device cpu"
    )
    assert "preview.memory: tiled" in hint(error, "cuda", memory="offload")
    assert "preview.memory" not in hint(error, "cuda", memory="tiled")


def test_the_cpus_real_refusal_is_known():
    with (
        pytest.raises(MemoryShortageError, match="enough memory for pictures of 64×32 pixels with"),
        naming_shortage(Preview(prompts=("x",)), (64, 32), "cpu"),
    ):
        torch.empty(2**62, dtype=torch.uint8)
    assert "tiled" in hint(MemoryError(), "cpu")


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="size"), naming_shortage(Preview(prompts=("x",)), (64, 32), "cpu"):
        torch.zeros(2) + torch.zeros(3)
