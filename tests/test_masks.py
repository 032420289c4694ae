"""DARE's keyed masks."""

import math

import numpy as np
import pytest
import torch

from loramerge.masks import Draw, keep_mask

KEY = (0, "ink", "unet.down_blocks.0", "down")


@pytest.mark.parametrize("shape", [(1,), (7, 3), (640, 33), (1 << 18, 3)])
@pytest.mark.parametrize("density", [0.1, 0.5, 0.93])
def test_tensor_operations_give_the_bits_of_numpy(shape, density):
    for bits in (16, 32):
        draw = Draw(math.prod(shape), bits, density, KEY)
        assert torch.equal(draw.on_cpu(), draw.on_device("cpu"))


def test_numpys_philox_is_the_published_one():
    # Known answer of Philox4x64-10 for counter and key zero (Random123's kat_vectors); NumPy draws counter 1 first.
    first = np.random.Philox(key=[0, 0], counter=[2**64 - 1] * 4).random_raw(4)
    assert [f"{word:016x}" for word in first] == [
        "16554d9eca36314c",
        "db20fe9d672d0fdc",
        "d7e772cee186176b",
        "7e68b68aec7ba23b",
    ]


def test_the_bits_are_the_same_for_ever():
    kept = keep_mask((4, 16), 0.5, KEY, "cpu").flatten().tolist()
    assert "".join(str(int(each)) for each in kept) == (
        "1010011111011110110011111111111111000010100011111110000010110001"
    )


@pytest.mark.parametrize("density", [0.0001, 0.05, 0.5, 0.9])
def test_as_many_stay_as_the_density_says(density):
    kept = keep_mask((1000, 1000), density, KEY, "cpu")
    assert abs(float(kept.float().mean()) - density) < 4 * (density * (1 - density) / 1e6) ** 0.5


@pytest.mark.parametrize("place", range(4))
def test_other_keys_give_independent_masks(place):
    other = tuple(f"{part}!" if position == place else part for position, part in enumerate(KEY))
    one, two = (keep_mask((1000, 1000), 0.5, key, "cpu") for key in (KEY, other))
    assert abs(float((one == two).float().mean()) - 0.5) < 0.003


def test_a_larger_mask_begins_as_a_smaller_one():
    assert torch.equal(keep_mask((300,), 0.5, KEY, "cpu"), keep_mask((1 << 19,), 0.5, KEY, "cpu")[:300])


def test_a_density_of_one_keeps_everything():
    assert keep_mask((50, 50), 1.0, KEY, "cpu").all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_has_the_same_bits():
    assert torch.equal(keep_mask((640, 33), 0.3, KEY, "cuda").cpu(), keep_mask((640, 33), 0.3, KEY, "cpu"))
