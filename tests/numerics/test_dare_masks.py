"""DARE's keyed masks."""

import hashlib
import math

import numpy as np
import pytest
import torch

from loramerge.numerics.dare_masks import Draw, keep_mask

KEY = (0, "ink", "unet.down_blocks.0", "down")


@pytest.mark.parametrize("shape", [(1,), (7, 3), (640, 33), (1 << 18, 3)])
@pytest.mark.parametrize("density", [1e-9, 0.001, 0.1, 0.5, 0.93, 0.999, 1 - 2**-50])
def test_tensor_operations_give_the_bits_of_numpy(shape, density):
    draw = Draw(math.prod(shape), density, KEY)
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
        "1101011101000010001011001010000110111010101011100000100100100100"
    )
    many = keep_mask((5000,), 0.3, KEY, "cpu")
    assert hashlib.sha256(many.numpy().tobytes()).hexdigest() == (
        "f72dc364183eb0597cbd9d65f805ee28e07429804a8fd400b7ad8f6a4cd491da"
    )


@pytest.mark.parametrize("density", [1 / 1024, 0.3, 0.5, 0.93])
def test_every_bit_is_what_the_published_numbers_say(density):
    """A byte against the density's first eight bits; where they are the same, 32 more against the next 32."""
    text = "\x1f".join(["loramerge/dare/2", *map(str, KEY)])
    key = np.frombuffer(hashlib.blake2b(text.encode(), digest_size=32).digest(), "<u8")
    counters = (np.array([0, stream, *key[2:]], dtype=np.uint64) for stream in (0, 1))
    first, second = (np.random.Philox(key=key[:2], counter=each).random_raw(1 << 16).astype("<u8") for each in counters)
    more, want = iter(second.view("<u4").tolist()), []
    for byte in first.view("u1").tolist():
        undecided = byte == math.floor(density * 256) and density * 256 % 1 > 0
        want.append((byte + next(more) / 2**32 if undecided else byte) < density * 256)
    assert keep_mask((len(want),), density, KEY, "cpu").tolist() == want


@pytest.mark.parametrize("density", [0.0001, 0.05, 0.5, 0.9])
def test_as_many_stay_as_the_density_says(density):
    kept = keep_mask((1000, 1000), density, KEY, "cpu")
    assert abs(float(kept.float().mean()) - density) < 4 * (density * (1 - density) / 1e6) ** 0.5


@pytest.mark.parametrize("place", range(4))
def test_other_keys_give_independent_masks(place):
    other = tuple(f"{part}!" if position == place else part for position, part in enumerate(KEY))
    one, two = (keep_mask((1000, 1000), 0.5, key, "cpu") for key in (KEY, other))
    assert abs(float((one == two).float().mean()) - 0.5) < 0.003


@pytest.mark.parametrize("density", [0.5, 0.7])
def test_a_larger_mask_begins_as_a_smaller_one(density):
    large = keep_mask((1 << 19,), density, KEY, "cpu")
    for size in (1, 300, 100_001):
        assert torch.equal(keep_mask((size,), density, KEY, "cpu"), large[:size])


def test_a_density_of_one_keeps_everything():
    assert keep_mask((50, 50), 1.0, KEY, "cpu").all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_has_the_same_bits():
    assert torch.equal(keep_mask((640, 33), 0.3, KEY, "cuda").cpu(), keep_mask((640, 33), 0.3, KEY, "cpu"))
