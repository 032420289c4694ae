from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from loramerge.adapter import Adapter, LowRank
from loramerge.provenance import comparison
from loramerge.tensor_files.planned import Planned
from loramerge.tensor_files.safetensors import opened, write
from loramerge.tensor_files.saved import SavedTensor

WEIGHT = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))


def written(path, tensors):
    write(path, [Planned.of(key, tensor) for key, tensor in tensors.items()], {})


def two(tmp_path, name, make, *given):
    paths = [tmp_path / f"{side}-{name}" for side in ("old", "new")]
    for path, each in zip(paths, given, strict=True):
        make(path, each)
    return comparison.files(*paths)


@pytest.mark.parametrize(
    ("other", "value", "within"),
    [
        ({"x": WEIGHT}, 0, True),
        ({"x": WEIGHT * (1 + 1e-5)}, 1e-5, True),
        ({"x": WEIGHT * 1.001}, 1e-3, False),
        ({"x": WEIGHT * math.nan}, math.inf, False),
        ({"y": WEIGHT}, math.inf, False),
        ({"x": WEIGHT[:4]}, math.inf, False),
        ({"x": WEIGHT.half()}, math.inf, False),
    ],
)
def test_tensors(tmp_path, other, value, within):
    distance = two(tmp_path, "a.safetensors", written, {"x": WEIGHT}, other)
    assert distance.value == pytest.approx(value, rel=1e-2)
    assert distance.within is within


def test_a_tensor_of_zeros(tmp_path):
    zeros, ones = {"x": torch.zeros(4)}, {"x": torch.ones(4)}
    assert two(tmp_path, "a.safetensors", written, zeros, zeros).value == 0
    assert not two(tmp_path, "b.safetensors", written, zeros, ones).within


def picture(path, given):
    grey, prompt, size, *versions = given
    info = PngInfo()
    info.add_text("prompt", prompt)
    info.add_text("environment", "".join(versions))
    Image.new("RGB", size, (grey, grey, grey)).save(path, pnginfo=info)


@pytest.mark.parametrize(
    ("other", "within"),
    [((100, "a", (4, 4)), True), ((102, "a", (4, 4)), True), ((110, "a", (4, 4)), False), ((100, "b", (4, 4)), False),
     ((100, "a", (4, 5)), False), ((100, "a", (4, 4), "torch 9"), True)],
)  # fmt: skip
def test_pictures(tmp_path, other, within):
    assert two(tmp_path, "a.png", picture, (100, "a", (4, 4)), other).within is within


def test_a_picture_that_is_a_bomb_is_another(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    assert not two(tmp_path, "a.png", picture, (100, "a", (4, 4)), (100, "a", (4, 4))).within


@pytest.mark.parametrize(
    ("old", "new", "within"),
    [
        ({"a": [1, {"b": 0.5}]}, {"a": [1, {"b": 0.50001}]}, True),
        ({"a": 0.5}, {"a": 0.51}, False),
        ({"error": 3e-8}, {"error": 2e-8}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": [1]}, {"a": [1, 2]}, False),
        ({"a": None}, {"a": False}, False),
        ({"a": 1, "_diffusers_version": "0.40"}, {"a": 1, "_diffusers_version": "0.42"}, True),
        ({"a": 1}, {"a": 1, "new": True}, False),
        ({"a": 1, "old": True}, {"a": 1}, False),
        ({"environment": {"torch": "2.6"}}, {"environment": {"torch": "2.13"}}, True),
    ],
)
def test_json(tmp_path, old, new, within):
    assert two(tmp_path, "a.json", lambda path, data: path.write_text(json.dumps(data)), old, new).within is within


def test_another_version_of_loramerge_may_say_more(tmp_path):
    for side, data in (("old", {"a": 1}), ("new", {"a": 1, "new": True})):
        (tmp_path / f"{side}.json").write_text(json.dumps(data))
        write(tmp_path / f"{side}.safetensors", [Planned.of("x", WEIGHT)], {key: str(data[key]) for key in data})
    for ending in ("json", "safetensors"):
        paths = [tmp_path / f"{side}.{ending}" for side in ("old", "new")]
        assert not comparison.files(*paths).within
        assert comparison.files(*paths, same_program=False).within


def test_a_library_may_write_other_defaults(tmp_path):
    files = {"a": 1}, {"a": 1, "new": True}
    assert two(tmp_path, "adapter_config.json", lambda path, data: path.write_text(json.dumps(data)), *files).within


def test_what_can_not_be_read_is_different(tmp_path):
    for name in ("a.json", "a.png", "a.safetensors"):
        assert not two(tmp_path, name, lambda path, text: path.write_text(text), "{}", "broken").within
    assert two(tmp_path, "a.txt", lambda path, text: path.write_text(text), "x", "x").within
    assert not two(tmp_path, "b.txt", lambda path, text: path.write_text(text), "x", "y").within


def adapter(factor=1.0, **names):
    modules = names or {"m": 2}
    return Adapter({"unet": {
        name: LowRank(WEIGHT[:rank], WEIGHT[:, :rank] * factor, 1.0) for name, rank in modules.items()
    }})  # fmt: skip


def test_adapters_are_compared_by_what_they_do():
    turned = Adapter({"unet": {"m": LowRank(-WEIGHT[:2] * 4, -WEIGHT[:, :2] / 2, 0.5)}})
    assert comparison.adapters(adapter(), turned, "F32").value < 1e-7
    assert comparison.adapters(adapter(), adapter(1.0005), "F16").within
    assert not comparison.adapters(adapter(), adapter(1.0005), "F32").within
    assert comparison.adapters(adapter(), adapter(1.0005), "F32").value == pytest.approx(5e-4, rel=1e-2)
    assert comparison.adapters(adapter(m=2), adapter(n=2), "F32").value == math.inf
    assert comparison.adapters(adapter(m=2), adapter(m=2, n=2), "BF16").value == math.inf


def test_what_became_zero_is_not_put_down_to_rounding():
    zero = adapter(0.0)
    assert comparison.adapters(zero, adapter(), "F32").value == math.inf
    assert comparison.adapters(adapter(), zero, "F32").value == pytest.approx(1.0)
    assert comparison.adapters(zero, adapter(0.0), "F32").value == 0.0


@pytest.mark.parametrize(
    ("hash_of_all", "phrase", "within"), [("1", "ink", True), ("2", "ink", True), ("1", "x", False)]
)
def test_what_a_file_says_of_itself_is_the_same_but_for_hashes(hash_of_all, phrase, within):
    before = replace(adapter(), metadata={"modelspec.trigger_phrase": "ink", "sshs_model_hash": "1"})
    after = replace(adapter(), metadata={"modelspec.trigger_phrase": phrase, "sshs_model_hash": hash_of_all})
    assert comparison.adapters(before, after, "F32").within is within


def test_what_was_trained_in_full_is_the_same_to_the_bit(tmp_path):
    written(tmp_path / "x.safetensors", {"x": WEIGHT, "y": WEIGHT * 1.00001})
    one, other = (SavedTensor(opened(tmp_path / "x.safetensors").tensor(key)) for key in "xy")
    for kind in ({"saved": {"unet": {"head.weight": one}}}, {"embeddings": {"fox.clip_l": one}}):
        before = replace(adapter(), **kind)
        changed = {key: {name: {"head.weight": other} if key == "saved" else other for name in value}
                   for key, value in kind.items()}  # fmt: skip
        assert comparison.adapters(before, before, "F32").within
        assert not comparison.adapters(before, adapter(), "F32").within
        assert not comparison.adapters(before, replace(before, **changed), "F32").within


@pytest.mark.parametrize(
    ("old", "new", "within"),
    [
        ("unet 3.0e-08, rank 12", "unet 3.1e-08, rank 12", True),
        ("unet 0.50", "unet 0.51", False),
        ("rank 12", "rank 13", False),
        ("rank 12", "ranks 12", False),
    ],
)
def test_a_model_card(tmp_path, old, new, within):
    assert two(tmp_path, "README.md", lambda path, text: path.write_text(text), old, new).within is within
