"""What an output of fewer bits keeps as it is: what the libraries' classes keep when they load such a model."""

import foreign
import pytest
import single_files
import small_models
import tiny
import torch
from canonical import adapter_of, files_of
from command_line import write_recipe
from families.models import config_of
from families.rows import ROWS
from safetensors.torch import load_file, save_file

from loramerge import read_recipe, run
from loramerge.adapter import Adapter, LowRank
from loramerge.bases.base import read_base
from loramerge.bases.pipeline_files import PipelineFiles
from loramerge.errors import LoramergeError
from loramerge.formats.labels import Labels
from loramerge.formats.output import MergeResult
from loramerge.outputs import ModelOutput

FLOAT8 = {"float8_e4m3fn": torch.float8_e4m3fn, "float8_e5m2": torch.float8_e5m2}


def no_weights(component, module):
    raise AssertionError(f"nothing asks for {component}.{module}")


def written(source, names, base, adapter, folder, **settings):
    """The folder of an output, and what was said of it."""
    result = MergeResult(adapter, base, PipelineFiles(source, tuple(names), None), {}, Labels("ink"), no_weights)
    output = ModelOutput(kind="model", **settings)
    output.check(base, [*adapter.components])
    folder.mkdir()
    output.write(result, folder)
    return folder, result.notes


def tiny_adapter():
    return adapter_of(foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True))


def in_float8(name, shape):
    return name.endswith("weight") and len(shape) > 1 and "norm" not in name and "embedding" not in name.split(".")[-2]


@pytest.mark.parametrize("dtype", FLOAT8)
def test_only_weights_of_layers_become_float8_and_they_are_rounded_once(tmp_path, dtype):
    source = tiny.folder("sd15")
    base, adapter = read_base("base", source), tiny_adapter()
    names = list(files_of(source))
    want, _ = written(source, names, base, adapter, tmp_path / "float32", dtype="float32")
    have, notes = written(source, names, base, adapter, tmp_path / "float8", dtype=dtype)
    seen = {}
    for file in ("unet/diffusion_pytorch_model", "text_encoder/model", "vae/diffusion_pytorch_model"):
        one, other = (load_file(folder / f"{file}.safetensors") for folder in (want, have))
        for name, tensor in one.items():
            small = other[name].dtype == FLOAT8[dtype]
            seen[small] = seen.get(small, 0) + 1
            assert small == (in_float8(name, tensor.shape) and not file.startswith("vae")), (file, name)
            assert torch.equal(other[name].float(), tensor.to(FLOAT8[dtype]).float() if small else tensor), name
    assert min(seen.values()) > 20
    assert any(f"{seen[False]} tensors (" in note and f"for {dtype} has too few bits" in note for note in notes)
    assert any("rounding to float8 loses" in note for note in notes)


def test_a_file_becomes_float8_where_its_layers_are(tmp_path):
    tensors = single_files.checkpoint("sd15", tiny.folder("sd15"))
    single_files.write(tensors, tmp_path / "base.safetensors")
    told, adapter = read_base("folder", tiny.folder("sd15")), tiny_adapter()
    base = read_base("base.safetensors", tmp_path, ("base.safetensors",), told)
    folder, notes = written(tmp_path, ["base.safetensors"], base, adapter, tmp_path / "out", dtype="float8_e4m3fn")
    have = load_file(folder / "ink.safetensors")
    small = {name for name, each in have.items() if each.dtype == torch.float8_e4m3fn}
    assert "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight" in small
    assert not any(
        ".norm" in name or name.endswith("bias") or name.startswith(("first_stage", "model_ema")) for name in small
    )
    assert have["first_stage_model.encoder.conv_in.weight"].dtype == torch.float64
    assert any("keep the base's number format" in note for note in notes)


def test_what_float8_can_not_hold_is_refused(tmp_path):
    source = tmp_path / "base"
    tiny_unet = tiny.shared("sd15").unet
    tiny_unet.save_pretrained(source)
    tensors = load_file(source / "diffusion_pytorch_model.safetensors")
    tensors["conv_in.weight"][0, 0, 0, 0] = 500.0
    save_file(tensors, source / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    pair = LowRank(torch.zeros(1, 4, 3, 3), torch.zeros(16, 1, 1, 1), 1.0)
    base, adapter = read_base("base", source), Adapter({"unet": {"conv_in": pair}})
    with pytest.raises(LoramergeError, match="more than float8_e4m3fn can hold"):
        written(source, files_of(source), base, adapter, tmp_path / "out", dtype="float8_e4m3fn")
    written(source, files_of(source), base, adapter, tmp_path / "wider", dtype="float8_e5m2")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("family", ["wan", "krea2"])
def test_what_diffusers_keeps_in_float32_stays(tmp_path, family, dtype):
    import diffusers

    row = next(each for each in ROWS if each.family == family)
    config = config_of(row)
    model = getattr(diffusers, config["_class_name"])
    model.from_config(config).save_pretrained(tmp_path / "base")
    known = read_base("base", tmp_path / "base")
    module, shape = next((name, each) for name, each in known.components[known.main].modules.items() if len(each) == 2)
    adapter = Adapter({known.main: {module: LowRank(torch.ones(1, shape[1]), torch.ones(shape[0], 1), 0.1)}})
    names = files_of(tmp_path / "base")
    folder, notes = written(tmp_path / "base", names, known, adapter, tmp_path / "out", dtype=dtype)
    have = {name: each.dtype for name, each in load_file(folder / "diffusion_pytorch_model.safetensors").items()}
    want = model.from_pretrained(tmp_path / "base", torch_dtype=getattr(torch, dtype)).state_dict()
    assert have == {name: want[name].dtype for name in have}
    assert {*have.values()} == {torch.float32, getattr(torch, dtype)}
    assert any(f"for {dtype} has too few bits for them" in note for note in notes)


@pytest.mark.parametrize(("dtype", "kept"), [("float16", True), ("bfloat16", False)])
def test_what_transformers_keeps_in_float32_stays(tmp_path, monkeypatch, dtype, kept):
    name = "T5ForConditionalGeneration"
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 40}
    monkeypatch.setitem(small_models.CONFIGS, name, {**sizes, "decoder_start_token_id": 0})
    monkeypatch.chdir(tmp_path)
    small_models.built(name).save_pretrained(tmp_path / "base")
    small_models.lora(name, tmp_path / "a", seed=1, target_modules=["q", "wo"])
    path = write_recipe(tmp_path, base="base", loras={"a": "a"}, outputs=[{"kind": "model", "dtype": dtype}])
    run(read_recipe(path), out=tmp_path / "out", device="cpu")
    have = {key: each.dtype for key, each in load_file(tmp_path / "out" / "model" / "model.safetensors").items()}
    wide = {key for key, each in have.items() if each == torch.float32}
    assert wide == ({key for key in have if ".wo." in key} if kept else set())
    assert wide or not kept
