"""Pairs that stay in their file: the same numbers, read when they are asked for, and never others."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from loramerge.adapter import LowRank
from loramerge.errors import LoramergeError, SourceError
from loramerge.tensor_files.lazy import READABLE, Spool, StoredLowRank
from loramerge.tensor_files.safetensors import opened

OPEN_FILES = Path("/proc/self/fd")
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def random_pair(*kernel):
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(3, 5, *kernel, generator=generator)
    return LowRank(down, torch.randn(4, 3, *(1 for _ in kernel), generator=generator), 0.5)


def equal(one, other):
    same = torch.equal(one.down, other.down) and torch.equal(one.up, other.up)
    return same and (one.scale, one.rank, one.shape) == (other.scale, other.rank, other.shape)


@pytest.mark.parametrize("name", READABLE)
def test_every_number_format_is_read_as_float32(tmp_path, name):
    tensor = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(DTYPES[name])
    save_file({"a": torch.zeros(7), "x": tensor}, tmp_path / "x.safetensors")
    stored = opened(tmp_path / "x.safetensors").tensor("x")
    assert torch.equal(stored.load(), tensor.float())
    assert torch.equal(stored.read().view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize("kernel", [(), (1, 1), (3, 3)])
def test_a_spool_gives_back_what_it_keeps(tmp_path, kernel):
    spool, pair = Spool(tmp_path, memory=0), random_pair(*kernel)
    first, second = spool.keep(pair), spool.keep(pair.times(-2))
    assert isinstance(first, StoredLowRank)
    assert equal(first, pair)
    assert equal(second, pair.times(-2))
    assert equal(first.loaded(), pair)
    assert torch.equal(first.delta(), pair.delta())


def test_a_spool_keeps_the_first_in_memory(tmp_path):
    pair = random_pair()
    spool = Spool(tmp_path, memory=2 * 4 * (pair.down.numel() + pair.up.numel()))
    kept = [spool.keep(pair) for _ in range(3)]
    assert [isinstance(each, StoredLowRank) for each in kept] == [False, False, True]
    assert all(equal(each, pair) for each in kept)


def test_what_can_be_made_anew_takes_no_room_in_the_file(tmp_path):
    pair, again = random_pair(), random_pair()
    assert Spool(tmp_path, memory=0).keep(pair, again) is again
    kept = Spool(tmp_path).keep(pair, again)
    assert kept is not again  # memory has room
    assert equal(kept, pair)


def test_a_pair_is_reshaped_and_scaled_where_it_lies(tmp_path):
    pair = random_pair()
    kept = Spool(tmp_path, memory=0).keep(pair)
    assert equal(kept.shaped((4, 5, 1, 1)).times(3), pair.shaped((4, 5, 1, 1)).times(3))


def test_a_spool_leaves_nothing_behind(tmp_path):
    kept = Spool(tmp_path, memory=0).keep(random_pair())
    assert list(tmp_path.iterdir()) == []
    if OPEN_FILES.is_dir():
        before = len(list(OPEN_FILES.iterdir()))
        del kept
        gc.collect()
        assert len(list(OPEN_FILES.iterdir())) < before


def test_a_spool_needs_a_folder_that_can_be_written(tmp_path):
    with pytest.raises(LoramergeError, match=r"can't be written: No such file"):
        Spool(tmp_path / "absent")


@pytest.mark.parametrize("content", [torch.ones(3, 5), torch.ones(2, 5)])
def test_a_file_that_was_changed_since_is_not_read(tmp_path, content):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.zeros(3, 5)}, path)
    stored = opened(path, "the LoRA").tensor("x")
    save_file({"x": content}, path)
    os.utime(path, ns=(0, 0))
    with pytest.raises(SourceError, match=r"^the LoRA was changed while it was read"):
        stored.load()


def test_a_file_that_took_the_place_of_another_is_not_read(tmp_path):
    """Of the same size and time, moved there by rename."""
    path, other = tmp_path / "x.safetensors", tmp_path / "y.safetensors"
    save_file({"x": torch.zeros(3, 5)}, path)
    save_file({"x": torch.ones(3, 5)}, other)
    stored, status = opened(path, "the LoRA").tensor("x"), path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    with pytest.raises(SourceError, match=r"^the LoRA was changed while it was read"):
        stored.load()


def test_a_file_that_is_gone_is_said(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.zeros(3, 5)}, path)
    stored = opened(path, "the LoRA").tensor("x")
    path.unlink()
    with pytest.raises(SourceError, match=r"^the LoRA can't be read: No such file"):
        stored.load()
