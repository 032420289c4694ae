"""OpenCLIP's projection, which one file has as in×out: what is fused into it is what a folder gets."""

import json

import pytest
import single_files
import tiny
import torch
from canonical import adapter_of, base_of, files_of, fuse, read
from deltas import lycoris
from outputs.test_fuse_file import bare, converted, fused
from pairs import random_lora
from safetensors.torch import load_file, save_file

from loramerge.adapter import Adapter, LowRank
from loramerge.bases.base import from_configs, read_base
from loramerge.bases.pipeline_files import PipelineFiles
from loramerge.deltas.dense import Dense
from loramerge.deltas.parameter import ParameterDelta
from loramerge.errors import MismatchError, SourceError
from loramerge.outputs import ModelOutput
from loramerge.stages.bind import BaseWeights, bind

pytestmark = pytest.mark.slow

KEY = "conditioner.embedders.1.model.text_projection"
WIDTH = 32
WIDER = 48


@pytest.fixture
def path(tmp_path):
    return written(tmp_path)


def written(folder, projection=None, named=KEY):
    """A checkpoint of a tiny SDXL, with another projection perhaps."""
    tensors = single_files.checkpoint("sdxl", tiny.folder("sdxl"))
    own = tensors.pop(KEY)
    return single_files.write(
        {**tensors, named: own if projection is None else projection}, folder / "base.safetensors"
    )


def wider():
    """A base whose projection is no square, by its configs."""
    configs = {
        name: json.loads((tiny.folder("sdxl") / name / "config.json").read_text())
        for name in ("unet", "text_encoder", "text_encoder_2")
    }
    configs["text_encoder_2"]["projection_dim"] = WIDER
    return from_configs("base", configs)


def of_file(path, kind):
    """A LoRA's file that touches nothing but the projection."""
    made = lycoris.DIALECTS[kind]((WIDTH, WIDTH), lycoris.Random(7))
    tensors = {f"lora_te2_text_projection.{name}": each for name, each in made.tensors.items()}
    save_file({name: each.contiguous() for name, each in tensors.items()}, path)
    return made


@pytest.mark.parametrize("kind", lycoris.DIALECTS)
def test_what_diffusers_makes_of_the_file_is_the_fused_folder(kind, path, tmp_path):
    made = of_file(tmp_path / "ink.safetensors", kind)
    adapter = read(tmp_path / "ink.safetensors", base_of("sdxl"))
    assert [entry[:2] for entry in adapter] == [("text_encoder_2", "text_projection")]
    file = fused(path, base_of("sdxl"), adapter, tmp_path / "file", lora_scale=0.5)
    (tmp_path / "folder").mkdir()
    source = tiny.folder("sdxl")
    output = ModelOutput(kind="model", lora_scale=0.5)
    fuse(PipelineFiles(source, tuple(files_of(source)), None), base_of("sdxl"), adapter, output, tmp_path / "folder")
    want = bare(load_file(tmp_path / "folder" / "text_encoder_2" / "model.safetensors"))
    have = bare(converted("sdxl", load_file(file), source)["text_encoder_2"])
    before, name = bare(load_file(source / "text_encoder_2" / "model.safetensors")), "text_projection.weight"
    exact = before[name].double() + 0.5 * made.delta
    assert float((have[name] - exact).norm() / (exact - before[name]).norm()) < 1e-5
    assert [key for key in want if not torch.equal(have[key], want[key])] == []


def test_nothing_but_the_projection_changes(path, tmp_path):
    of_file(tmp_path / "ink.safetensors", "LoRA")
    adapter = read(tmp_path / "ink.safetensors", base_of("sdxl"))
    after, before = load_file(fused(path, base_of("sdxl"), adapter, tmp_path / "file")), load_file(path)
    assert after.keys() == before.keys()
    assert [key for key in before if not torch.equal(after[key], before[key])] == [KEY]


def pair_of(height, width=WIDTH):
    noise = lycoris.Random(5)
    return LowRank(noise(3, width), noise(height, 3), 0.7)


def test_one_that_is_no_square(tmp_path):
    before = torch.randn(WIDTH, WIDER)
    path, pair = written(tmp_path, projection=before), pair_of(WIDER)
    adapter = Adapter({"text_encoder_2": {"text_projection": pair}})
    after = load_file(fused(path, wider(), adapter, tmp_path / "file"))[KEY]
    exact = before.double() + pair.delta().T
    assert after.shape == (WIDTH, WIDER)
    assert float((after - exact).abs().max()) < 1e-6


def test_one_that_a_program_has_saved_as_transformers_has_it(tmp_path):
    before = torch.randn(WIDER, WIDTH)
    path, pair = written(tmp_path, projection=before, named=f"{KEY}.weight"), pair_of(WIDER)
    adapter = Adapter({"text_encoder_2": {"text_projection": pair}})
    after = load_file(fused(path, wider(), adapter, tmp_path / "file"))[f"{KEY}.weight"]
    assert float((after - (before.double() + pair.delta())).abs().max()) < 1e-6


def test_one_that_lies_the_wrong_way_round_is_an_error(tmp_path):
    path = written(tmp_path, projection=torch.randn(WIDER, WIDTH))
    adapter = Adapter({"text_encoder_2": {"text_projection": pair_of(WIDER)}})
    with pytest.raises(SourceError, match=rf"{KEY} is 48×32, and text_encoder_2\.text_projection makes it 32×48"):
        fused(path, wider(), adapter, tmp_path / "file")
    assert not [*(tmp_path / "file").iterdir()]


def test_a_file_without_it(path, tmp_path):
    tensors = load_file(path)
    del tensors[KEY]
    lacking = single_files.write(tensors, tmp_path / "lacking.safetensors")
    adapter = Adapter({"text_encoder_2": {"text_projection": pair_of(WIDTH)}})
    with pytest.raises(SourceError, match=rf"has no tensor {KEY}, which is text_encoder_2\.text_projection in its"):
        fused(lacking, base_of("sdxl"), adapter, tmp_path / "file")


@pytest.mark.parametrize(("dtype", "to"), [("float16", torch.float16), ("float8_e4m3fn", torch.float8_e4m3fn)])
def test_it_is_written_in_fewer_bits_as_every_layers_weight_is(dtype, to, path, tmp_path):
    adapter = adapter_of(random_lora(tiny.shared("sdxl"), rank=2, alpha=2, seed=1, modules="text_projection"))
    whole = load_file(fused(path, base_of("sdxl"), adapter, tmp_path / "whole"))[KEY]
    few = load_file(fused(path, base_of("sdxl"), adapter, tmp_path / "few", dtype=dtype))[KEY]
    assert few.dtype == to
    assert torch.equal(few.float(), whole.to(to).float())


def test_a_dora_on_it_is_refused_by_name(path, tmp_path):
    made = of_file(tmp_path / "ink.safetensors", "LoRA")
    tensors = {f"lora_te2_text_projection.{name}": each for name, each in made.tensors.items()}
    save_file({**tensors, "lora_te2_text_projection.dora_scale": torch.ones(WIDTH, 1)}, tmp_path / "ink.safetensors")
    base = read_base("base.safetensors", tmp_path, (path.name,), base_of("sdxl"))
    adapter = read(tmp_path / "ink.safetensors", base)
    with pytest.raises(MismatchError, match=r"text_encoder_2\.text_projection has its weight as in×out"):
        bind("ink", adapter, BaseWeights(base, tmp_path, (path.name,)), said=True)


@pytest.mark.parametrize(("family", "component"), [("sdxl", "text_encoder_2"), ("sd2", "text_encoder")])
def test_every_parameter_of_openclip_is_found_in_the_file(family, component, tmp_path):
    source = tiny.folder(family)
    path = single_files.write(single_files.checkpoint(family, source), tmp_path / "base.safetensors")
    known, noise = base_of(family).components[component], lycoris.Random(3)
    layers = {key: Dense.of(noise(*shape)) for key, shape in known.modules.items()}
    others = {key: ParameterDelta.of(noise(*shape)) for key, shape in known.others.items()}
    file = fused(path, base_of(family), Adapter({component: layers | others}), tmp_path / "file")
    have = bare(converted(family, load_file(file), source)[component])
    before = bare(load_file(source / component / "model.safetensors"))
    deltas = bare({known.parameter(key): pair.matrix() for key, pair in (layers | others).items()})
    assert deltas.keys() == before.keys()
    assert [key for key in before if not torch.equal(have[key], before[key] + deltas[key].view_as(before[key]))] == []
