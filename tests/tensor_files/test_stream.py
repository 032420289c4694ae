"""Tensors from file to file: right to the last bit, in little memory, the same for any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from loramerge.adapter import LowRank
from loramerge.errors import LoramergeError, SourceError
from loramerge.files import file_view
from loramerge.files.digest import sha256_of
from loramerge.numerics import threads
from loramerge.tensor_files import stream as blocks
from loramerge.tensor_files.fuse_plan import RowDelta, TensorChange
from loramerge.tensor_files.header import layout
from loramerge.tensor_files.stream import write_blocks

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def pair(rows, *columns, rank=3, scale=0.5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, *columns, generator=generator)
    up = torch.randn(rows, rank, *[1] * (len(columns) - 1), generator=generator)
    return LowRank(down, up, scale)


def saved(path, tensors):
    save_file(tensors, path, metadata={"format": "pt"})
    return layout(path)


def changes(stored, pairs=(), dtype=None):
    pairs = dict(pairs)
    shares = {key: (RowDelta.whole(each),) for key, each in pairs.items()}
    return [TensorChange(each, dtype or each.dtype, shares.get(each.key, ()), each.key) for each in stored]


def written(tmp_path, stored, pairs=(), dtype=None):
    path = tmp_path / "written.safetensors"
    assert write_blocks(path, changes(stored, pairs, dtype)) == sha256_of(path)
    return load_file(path)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("block", [1, 100, 4096, 1 << 20])
@pytest.mark.parametrize("to", [None, *DTYPES])
@pytest.mark.parametrize("stored", DTYPES)
def test_a_tensor_is_the_sum_rounded_once_wherever_blocks_end(stored, to, block, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", block)
    before = {
        "linear": noise(17, 5, dtype=DTYPES[stored]),
        "convolution": noise(6, 4, 3, 3, seed=1, dtype=DTYPES[stored]),
        "untouched": noise(23, seed=2, dtype=DTYPES[stored]),
        "scalar": noise(seed=3, dtype=DTYPES[stored]),
        "empty": noise(0, 4, dtype=DTYPES[stored]),
    }
    pairs = {"linear": pair(17, 5), "convolution": pair(6, 4, 3, 3, seed=2)}
    after = written(tmp_path, saved(tmp_path / "base.safetensors", before), pairs, to)
    assert after.keys() == before.keys()
    for key, tensor in before.items():
        delta = pairs[key].delta() if key in pairs else 0
        exact = tensor.double() + delta
        assert after[key].dtype == DTYPES[to or stored]
        assert after[key].shape == tensor.shape
        # half a unit in the last place of the result, and float32's own error in the sum
        slack = torch.finfo(after[key].dtype).eps * 0.501 * exact.abs() + (2e-6 if key in pairs else 0)
        assert bool(((after[key].double() - exact).abs() <= slack).all())


def test_whatever_has_no_delta_and_no_other_format_keeps_its_bytes(tmp_path):
    before = {
        "float16": torch.tensor([float("nan"), float("inf"), -0.0, 6e-8], dtype=torch.float16),
        "integer": torch.arange(77),
        "flag": torch.tensor([True, False, True]),
        "touched": noise(4, 4),
    }
    after = written(tmp_path, saved(tmp_path / "base.safetensors", before), {"touched": pair(4, 4)})
    for key in ("float16", "integer", "flag"):
        assert after[key].dtype == before[key].dtype
        assert torch.equal(after[key].view(torch.uint8), before[key].view(torch.uint8))


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.booleans()), min_size=1, max_size=6), st.data())
@settings(max_examples=30, deadline=None)
def test_neither_blocks_nor_threads_change_a_bit(tmp_path_factory, shapes, data):
    folder = tmp_path_factory.mktemp("shapes")
    tensors = {f"t{number}": noise(rows, columns, seed=number) for number, (rows, columns, _) in enumerate(shapes)}
    pairs = {f"t{number}": pair(rows, columns) for number, (rows, columns, has) in enumerate(shapes) if has}
    planned = changes(saved(folder / "base.safetensors", tensors), pairs, data.draw(st.sampled_from([None, "F16"])))
    found = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", data.draw(st.integers(1, 400)))
        for cores in (1, 2, 5):
            patch.setattr(threads, "cores", lambda cores=cores: cores)
            found.add(write_blocks(folder / f"{cores}.safetensors", planned))
    assert len(found) == 1


def test_tensors_of_several_files_go_into_one(tmp_path):
    first = saved(tmp_path / "1.safetensors", {"a": noise(3, 3), "b": noise(2)})
    other = saved(tmp_path / "2.safetensors", {"c": noise(5, seed=1)})
    after = written(tmp_path, [other[0], first[1], first[0]])
    assert {key: tuple(tensor.shape) for key, tensor in after.items()} == {"a": (3, 3), "b": (2,), "c": (5,)}
    assert torch.equal(after["c"], noise(5, seed=1))
    with safe_open(tmp_path / "written.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("touched", [True, False])
def test_what_the_format_can_not_hold_is_an_error(touched, tmp_path):
    stored = saved(tmp_path / "base.safetensors", {"weight": torch.full((2, 2), 65519.0 if touched else 65520.0)})
    ones = LowRank(torch.ones(1, 2), torch.ones(2, 1), 1.0)
    planned = changes(stored, {"weight": ones} if touched else {}, "F16")
    what = "base plus LoRA is" if touched else "the base's values are"
    with pytest.raises(LoramergeError, match=f"weight: {what} more than float16 can hold"):
        write_blocks(tmp_path / "written.safetensors", planned)


def test_the_largest_number_that_rounds_down_is_held(tmp_path):
    stored = saved(tmp_path / "base.safetensors", {"weight": torch.tensor([65519.0, -65519.0])})
    assert written(tmp_path, stored, dtype="F16")["weight"].tolist() == [65504.0, -65504.0]


def test_what_the_base_has_as_infinite_stays(tmp_path):
    before = torch.tensor([[float("inf"), 1.0], [float("nan"), -float("inf")]])
    stored = saved(tmp_path / "base.safetensors", {"weight": before})
    after = written(tmp_path, stored, {"weight": pair(2, 2)}, "F16")["weight"]
    assert torch.equal(after.isfinite(), before.isfinite())


def test_a_lora_that_is_not_finite_is_an_error(tmp_path):
    stored = saved(tmp_path / "base.safetensors", {"weight": torch.zeros(2, 2)})
    broken = LowRank(torch.ones(1, 2), torch.tensor([[float("nan")], [0.0]]), 1.0)
    with pytest.raises(LoramergeError, match="weight"):
        write_blocks(tmp_path / "written.safetensors", changes(stored, {"weight": broken}))


def test_a_file_that_shrinks_is_an_error(tmp_path):
    stored = saved(tmp_path / "base.safetensors", {"weight": torch.zeros(100)})
    os.truncate(tmp_path / "base.safetensors", stored[0].offset + 10)
    with pytest.raises(SourceError, match="was changed while it was read"):
        write_blocks(tmp_path / "written.safetensors", changes(stored))


def test_a_file_that_vanishes_is_an_error(tmp_path):
    stored = saved(tmp_path / "base.safetensors", {"weight": torch.zeros(100)})
    (tmp_path / "base.safetensors").unlink()
    with pytest.raises(SourceError, match="can't be read"):
        write_blocks(tmp_path / "written.safetensors", changes(stored))


@pytest.mark.parametrize("block", [1, 100, 4096, 1 << 20])
@pytest.mark.parametrize("stored", DTYPES)
def test_rows_of_one_tensor_get_deltas_of_several_pairs(stored, block, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", block)
    before = {"qkv": noise(14, 6, dtype=DTYPES[stored]), "other": noise(3, 3, dtype=DTYPES[stored])}
    value, halves = pair(4, 6), pair(6, 6, seed=2)
    # rows 0-3 of one pair, 4-7 of nothing, and the halves of another one in each other's place
    shares = (RowDelta(value, 0, 4), RowDelta(halves, 8, 11, 3), RowDelta(halves, 11, 14, 0))
    planned = [
        TensorChange(each, each.dtype, shares if each.key == "qkv" else (), each.key)
        for each in saved(tmp_path / "base.safetensors", before)
    ]
    write_blocks(tmp_path / "written.safetensors", planned, {"a": "b"})
    after = load_file(tmp_path / "written.safetensors")
    delta = torch.zeros(14, 6, dtype=torch.float64)
    delta[:4], delta[8:11], delta[11:] = value.delta(), halves.delta()[3:], halves.delta()[:3]
    exact = before["qkv"].double() + delta
    assert torch.equal(after["other"], before["other"])
    assert torch.equal(after["qkv"][4:8], before["qkv"][4:8])
    slack = torch.finfo(DTYPES[stored]).eps * 0.51 * exact.abs() + 1e-6
    assert bool(((after["qkv"].double() - exact).abs() <= slack).all())
    with safe_open(tmp_path / "written.safetensors", "pt") as file:
        assert file.metadata() == {"a": "b"}


PEAK = """
import sys, torch
from pathlib import Path
from loramerge.adapter import LowRank
from loramerge.tensor_files.stream import write_blocks
from loramerge.tensor_files.fuse_plan import RowDelta, TensorChange
from loramerge.tensor_files.header import layout

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024

torch.ones(64, 64) @ torch.ones(64, 64)
before = peak()
folder = Path(sys.argv[1])
shares = (RowDelta.whole(LowRank(torch.ones(4, 4096), torch.ones(8192, 4), 0.1)),)
stored = layout(folder / "base.safetensors")
write_blocks(folder / "written.safetensors", [TensorChange(each, "F16", shares, each.key) for each in stored])
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    save_file(
        {f"t{number}": torch.zeros(8192, 4096, dtype=torch.float16) for number in range(4)},
        tmp_path / "base.safetensors",
    )
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 128  # MB, of a file of 256


@pytest.fixture
def settled(monkeypatch):
    """Files of this moment count as settled, and none is known."""
    monkeypatch.setattr(file_view, "_UNSETTLED", -1)
    monkeypatch.setattr(file_view, "_digests", {})


@pytest.mark.parametrize("block", [100, 1 << 20])
@pytest.mark.parametrize("dtype", [None, "F16"])
@pytest.mark.parametrize("known", [False, True])
def test_a_file_is_hashed_in_the_pass_and_nothing_else_changes(known, dtype, block, tmp_path, monkeypatch, settled):
    monkeypatch.setattr(blocks, "BLOCK", block)
    tensors = {"a": noise(20, 30), "b": noise(7, 5, seed=2), "c": noise(40, 12, seed=3)}
    stored = saved(tmp_path / "x.safetensors", tensors)
    place, pairs = stored[0].place, {"a": pair(20, 30), "c": pair(40, 12, seed=4)}
    if known:
        place.digest()
    after = written(tmp_path, stored, pairs, dtype)
    assert place.known_digest().sha256 == sha256_of(tmp_path / "x.safetensors")
    for key, tensor in tensors.items():
        exact = tensor.double() + (pairs[key].delta() if key in pairs else 0)
        close = 1e-3 if dtype else 1e-6
        assert torch.allclose(after[key].double(), exact, rtol=close, atol=close)


def test_a_file_whose_tensors_come_in_another_order_is_left_to_others(tmp_path, settled):
    stored = saved(tmp_path / "x.safetensors", {"a": noise(20, 30), "b": noise(7, 5)})
    write_blocks(tmp_path / "written.safetensors", changes(stored[::-1]))
    assert stored[0].place.known_digest() is None
    assert stored[0].place.digest().sha256 == sha256_of(tmp_path / "x.safetensors")


def test_the_same_bytes_whether_the_source_is_known_or_not(tmp_path, settled):
    stored = saved(tmp_path / "x.safetensors", {"a": noise(300, 30), "b": noise(7, 5)})
    found = [write_blocks(tmp_path / "one", changes(stored, {"a": pair(300, 30)})) for _ in range(2)]
    assert found[0] == found[1] == sha256_of(tmp_path / "one")
