"""One file in, one file out: what diffusers' own converters make of it is the fused folder, all else is as it was."""

import json

import foreign
import pytest
import single_files
import tiny
import torch
from canonical import adapter_of, base_of, files_of, fuse
from families.models import config_of, converter_of, in_original_names, layout_of, shapes_of, tensors_of
from families.rows import ROWS
from safetensors import safe_open
from safetensors.torch import load_file

from loramerge.adapter import Adapter, LowRank
from loramerge.bases.base import from_configs, read_base
from loramerge.bases.pipeline_files import PipelineFiles
from loramerge.errors import LoramergeError, MismatchError
from loramerge.families import FAMILIES
from loramerge.files.digest import sha256_of
from loramerge.formats.labels import Labels
from loramerge.formats.output import MergeResult
from loramerge.outputs import ModelOutput, PipelineOutput
from loramerge.tensor_files.header import layout

pytestmark = pytest.mark.slow

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LABELS = Labels("ink")


def no_weights(component, module):
    raise AssertionError(f"{component}.{module}: what is fused is added to the file itself")


def fused(path, told, adapter, folder, notes=None, **settings):
    """The fused file of a base that is one file."""
    base = read_base("base.safetensors", path.parent, (path.name,), told)
    output = ModelOutput(kind="model", **settings)
    output.check(base, [*adapter.components])
    folder.mkdir()
    files = PipelineFiles(path.parent, (path.name,), None)
    digests = output.write(
        MergeResult(adapter, base, files, {}, LABELS, no_weights, [] if notes is None else notes), folder
    )
    assert digests == {"ink.safetensors": sha256_of(folder / "ink.safetensors")}
    return folder / "ink.safetensors"


def converted(family, tensors, folder):
    """By diffusers' own functions: component → tensors."""
    from diffusers.loaders import single_file_utils as utils
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    unet = json.loads((folder / "unet" / "config.json").read_text())
    found = {"unet": utils.convert_ldm_unet_checkpoint(dict(tensors), unet)}
    for component, prefix in single_files.ENCODERS[family].items():
        if prefix.endswith("transformer."):
            found[component] = utils.convert_ldm_clip_checkpoint(dict(tensors), remove_prefix=prefix)
        else:
            kind = CLIPTextModelWithProjection if component == "text_encoder_2" else CLIPTextModel
            model = kind.from_pretrained(folder / component)
            found[component] = utils.convert_open_clip_checkpoint(model, dict(tensors), prefix=prefix)
    return found


def bare(tensors):
    """As transformers names them, whatever its release."""
    return {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_what_diffusers_makes_of_the_file_is_the_fused_folder(family, dtype, tmp_path):
    source = tiny.save(tiny.FAMILIES[family]().to(DTYPES[dtype]), tmp_path / "base")
    adapter = adapter_of(foreign.random_lora(tiny.shared(family), rank=4, alpha=2, seed=3, conv_rank=3))
    path = single_files.write(single_files.checkpoint(family, source), tmp_path / "base.safetensors")
    file = fused(path, base_of(family), adapter, tmp_path / "file", lora_scale=0.5)
    (tmp_path / "folder").mkdir()
    files = PipelineFiles(source, tuple(files_of(source)), None)
    fuse(files, base_of(family), adapter, ModelOutput(kind="model", lora_scale=0.5), tmp_path / "folder")
    for component, have in converted(family, load_file(file), source).items():
        (weights,) = (tmp_path / "folder" / component).glob("*.safetensors")
        want = bare(load_file(weights))
        got = bare(have)
        assert want.keys() <= got.keys()
        assert [name for name in want if not torch.equal(got[name], want[name])] == []


def test_all_else_is_the_same_to_the_byte(tmp_path):
    source = tiny.folder("sd15")
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True)
    path = single_files.write(single_files.checkpoint("sd15", source), tmp_path / "base.safetensors")
    file = fused(path, base_of("sd15"), adapter_of(pairs), tmp_path / "file")
    before, after = layout(path), layout(file)
    assert [(each.key, each.dtype, each.shape) for each in before] == [
        (each.key, each.dtype, each.shape) for each in after
    ]
    changed = {each.key for each, other in zip(before, after, strict=True) if content(each) != content(other)}
    assert len(changed) == sum(map(len, pairs.values()))
    assert all(key.startswith(("model.diffusion_model.", "cond_stage_model.")) for key in changed)
    with safe_open(file, "pt") as opened:
        said = opened.metadata()
    assert said.pop("loramerge.recipe") == "ink"
    kept = {key: text for key, text in said.items() if not key.startswith("loramerge.")}
    assert kept == {"format": "pt", "author": "somebody"}  # the hash of what it was is no longer true


def content(stored):
    data = bytearray(stored.size)
    stored.place.read_into(memoryview(data), stored.offset)
    return bytes(data)


def test_a_dtype_of_the_recipe_is_that_of_all_numbers(tmp_path):
    path = single_files.write(single_files.checkpoint("sd15", tiny.folder("sd15")), tmp_path / "base.safetensors")
    adapter = adapter_of(foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True))
    whole = load_file(fused(path, base_of("sd15"), adapter, tmp_path / "whole"))
    half = load_file(fused(path, base_of("sd15"), adapter, tmp_path / "half", dtype="float16"))
    assert half.keys() == whole.keys()
    for name, tensor in whole.items():
        assert torch.equal(half[name], tensor.half() if tensor.is_floating_point() else tensor)


def adapter_for(base, component="", seed=0):
    """A pair for every layer of a base's denoiser."""
    generator = torch.Generator().manual_seed(seed)
    name = component or base.main
    modules = {}
    for module, (out, width, *kernel) in base.components[name].modules.items():
        down = torch.randn(2, width, *kernel, generator=generator)
        modules[module] = LowRank(down, torch.randn(out, 2, *[1 for _ in kernel], generator=generator), 0.3)
    return Adapter({name: modules})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.family}-{ROWS.index(row)}")
def test_every_family_with_names_of_its_own_in_its_own_file(row, tmp_path):
    family = FAMILIES[row.family]
    told = from_configs("base", {family.denoisers[0]: config_of(row)})
    tensors, adapter = tensors_of(row), adapter_for(told)
    original = in_original_names(layout_of(row, shapes_of(row)), tensors)
    prefixed = {f"model.diffusion_model.{name}": tensor for name, tensor in original.items()}
    file = fused(single_files.write(prefixed, tmp_path / "base.safetensors"), told, adapter, tmp_path / "file")
    plain = fused(single_files.write(tensors, tmp_path / "plain.safetensors"), told, adapter, tmp_path / "plain")
    want, (name,) = load_file(plain), adapter.components
    for module, pair in adapter.components[name].items():
        key = f"{module}.weight"
        exact = tensors[key].double() + pair.delta().reshape(tensors[key].shape)
        assert bool(((want[key].double() - exact).abs() <= 1e-6 * exact.abs().max() + 1e-6).all())
    have = {key.removeprefix("model.diffusion_model."): tensor for key, tensor in load_file(file).items()}
    again = in_original_names(layout_of(row, shapes_of(row)), want)
    assert [key for key in again if not torch.equal(again[key], have[key])] == []
    if row.converter:
        back = converter_of(row)(have, config=config_of(row))
        assert [key for key in want if not torch.equal(back[key], want[key])] == []


def test_a_text_encoder_that_the_file_does_not_hold_is_no_part_of_the_base(tmp_path):
    tensors = single_files.checkpoint("sd15", tiny.folder("sd15"))
    unet = {name: each for name, each in tensors.items() if name.startswith("model.")}
    path = single_files.write(unet, tmp_path / "unet.safetensors")
    base = read_base("unet.safetensors", tmp_path, (path.name,), base_of("sd15"))
    assert [*base.components] == ["unet"]
    with pytest.raises(MismatchError, match="holds no text_encoder, which LoRAs touch"):
        ModelOutput(kind="model").check(base, ["unet", "text_encoder"])


def test_a_file_is_no_pipeline(tmp_path):
    path = single_files.write(single_files.checkpoint("sd15", tiny.folder("sd15")), tmp_path / "base.safetensors")
    base = read_base("base.safetensors", tmp_path, (path.name,), base_of("sd15"))
    with pytest.raises(MismatchError, match="is one file and no pipeline") as caught:
        PipelineOutput(kind="pipeline").check(base, ["unet"])
    assert caught.value.hint == "write `kind: model`"


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    from shutil import disk_usage

    path = single_files.write(single_files.checkpoint("sd15", tiny.folder("sd15")), tmp_path / "base.safetensors")
    adapter = adapter_of(foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True))
    full = disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("loramerge.files.writing.shutil.disk_usage", lambda _: full)
    with pytest.raises(LoramergeError, match=r"the disk has room for 0\.0 GB"):
        fused(path, base_of("sd15"), adapter, tmp_path / "file")
    assert not [*(tmp_path / "file").iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_diffusers_loads_the_file_as_it_loads_the_folder(family, tmp_path):
    import diffusers

    source, model = tiny.folder(family), tiny.shared(family)
    pairs = foreign.random_lora(model, rank=4, alpha=2, seed=3)
    if family == "sdxl":
        more = foreign.random_lora(model, rank=3, alpha=2, seed=4, modules="text_projection|c_fc|fc1")
        pairs["text_encoder_2"] |= more["text_encoder_2"]
        assert "text_projection" in pairs["text_encoder_2"]
    adapter = adapter_of(pairs)
    path = single_files.write(single_files.checkpoint(family, source), tmp_path / "base.safetensors")
    file = fused(path, base_of(family), adapter, tmp_path / "file")
    (tmp_path / "folder").mkdir()
    files = PipelineFiles(source, tuple(files_of(source)), None)
    fuse(files, base_of(family), adapter, ModelOutput(kind="model"), tmp_path / "folder")
    pipeline = getattr(diffusers, FAMILIES[family].card.opens_file)
    vae = diffusers.AutoencoderKL.from_pretrained(source / "vae")  # the file has next to nothing of one
    one = pipeline.from_single_file(str(file), config=str(source), vae=vae)
    two = pipeline.from_pretrained(tmp_path / "folder")
    for component in base_of(family).components:
        have, want = (getattr(each, component).state_dict() for each in (one, two))
        assert have.keys() == want.keys()
        assert [name for name in want if not torch.equal(have[name], want[name])] == []


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_float8_is_summed_in_float32_and_rounded_once(stored, dtype, tmp_path):
    tensors = single_files.checkpoint("sd15", tiny.folder("sd15"))
    eight = {
        name: each.to(stored) if each.dtype == torch.float32 and each.ndim else each for name, each in tensors.items()
    }
    adapter = adapter_of(foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True))
    wide = {name: each.float() if each.dtype == stored else each for name, each in eight.items()}
    exact = load_file(
        fused(single_files.write(wide, tmp_path / "w.safetensors"), base_of("sd15"), adapter, tmp_path / "w")
    )
    path = single_files.write(eight, tmp_path / "base.safetensors")
    notes = []
    have = load_file(fused(path, base_of("sd15"), adapter, tmp_path / "file", notes, dtype=dtype))
    to = stored if dtype is None else torch.bfloat16
    touched = [name for name in exact if not torch.equal(exact[name], wide[name])]
    for name in touched:
        assert torch.equal(have[name].float(), exact[name].to(to).float()), name
    if dtype is not None:
        assert notes == []
        return
    lost = torch.cat([(have[name].float() - exact[name]).flatten() for name in touched]).double().norm()
    added = torch.cat([(exact[name] - wide[name]).flatten() for name in touched]).double().norm()
    assert notes == [notes[0]]
    assert notes[0].startswith(
        f"output model: rounding to float8 loses {lost / added:.1%} of what is added to the base"
    )


@pytest.mark.parametrize(("stored", "limit"), [(torch.float8_e4m3fn, 464.0), (torch.float8_e5m2, 61440.0)])
def test_a_sum_that_float8_can_not_hold_is_an_error(stored, limit, tmp_path):
    told = from_configs("base", {"transformer": config_of(next(row for row in ROWS if row.family == "qwen_image"))})
    tensors = {
        f"{name}.weight": torch.zeros(shape).to(stored)
        for name, shape in told.components["transformer"].modules.items()
    }
    path = single_files.write(tensors, tmp_path / "base.safetensors")
    module, shape = next(iter(told.components["transformer"].modules.items()))
    for value, fits in ((limit * 0.99, True), (limit * 1.01, False)):
        pair = LowRank(torch.ones(1, shape[1]), torch.full((shape[0], 1), value), 1.0)
        place = tmp_path / str(fits)
        if fits:
            have = load_file(fused(path, told, Adapter({"transformer": {module: pair}}), place))
            assert bool((have[f"{module}.weight"].float() == torch.finfo(stored).max).all())
        else:
            with pytest.raises(LoramergeError, match=r"more than float8_e.* can hold"):
                fused(path, told, Adapter({"transformer": {module: pair}}), place)
