"""The fused pipeline's files: those that diffusers would write, but for what diffusers rounds or loses."""

import json
import shutil

import foreign
import pytest
import tiny
import torch
import truth
from canonical import adapter_of, base_of, files_of, fuse
from safetensors.torch import load_file, save_file

from loramerge.adapter import Adapter, LowRank
from loramerge.bases.base import from_configs, read_base
from loramerge.bases.component import CLIP_PREFIX, canonical
from loramerge.bases.pipeline_files import PipelineFiles, pipeline_files
from loramerge.errors import LoramergeError, SourceError
from loramerge.files.digest import sha256_of
from loramerge.outputs import PipelineOutput
from loramerge.sources import parse
from loramerge.tensor_files.rounding_loss import RoundingLoss

pytestmark = pytest.mark.slow

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


def pairs_of(family, components=None):
    # alpha is half of the rank: where the scale comes in changes no bit then
    more = {"components": components} if components else {}
    return foreign.random_lora(tiny.shared(family), rank=4, alpha=2, seed=3, **more)


def fused(source, adapter, folder, variant=None, **settings):
    folder.mkdir()
    files = PipelineFiles(source, tuple(files_of(source)), variant)
    digests = fuse(files, read_base("base", source), adapter, PipelineOutput(kind="pipeline", **settings), folder)
    assert digests == {name: sha256_of(folder / name) for name in digests}
    return folder


def weights(folder, component):
    found = {}
    for file in sorted((folder / component).glob("*.safetensors")):
        prefix = "" if component == "unet" else CLIP_PREFIX
        found |= {canonical(key, prefix): tensor for key, tensor in load_file(file).items()}
    return found


def by_diffusers(source, pairs, folder, dtype=torch.float32):
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(source).to(dtype)
    foreign.write_diffusers(pairs, folder.with_suffix(".safetensors"), adapter_metadata=True)
    pipeline.load_lora_weights(folder.with_suffix(".safetensors"))
    pipeline.fuse_lora(components=list(pairs))
    pipeline.unload_lora_weights()
    pipeline.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_float32_is_what_diffusers_writes_bit_for_bit(family, tmp_path):
    pairs, source = pairs_of(family), tiny.folder(family)
    ours = fused(source, adapter_of(pairs), tmp_path / "ours")
    theirs = by_diffusers(source, pairs, tmp_path / "theirs")
    for component in base_of(family).components:
        have, want = weights(ours, component), weights(theirs, component)
        assert have.keys() == want.keys()
        assert all(torch.equal(have[key], want[key]) for key in want)
    names = {name for name in files_of(theirs) if not name.startswith("tokenizer")}
    assert {name for name in files_of(ours) if not name.startswith("tokenizer")} == names


@pytest.mark.slow
def test_float16_is_diffusers_own_float32_sum_rounded_and_nearer_to_the_truth_than_its_float16(tmp_path):
    pairs = pairs_of("sdxl")
    source = tiny.save(tiny.sdxl().to(torch.float16), tmp_path / "base")
    ours = fused(source, adapter_of(pairs), tmp_path / "ours")
    exactly = by_diffusers(source, pairs, tmp_path / "exactly")
    rounding = by_diffusers(source, pairs, tmp_path / "rounding", torch.float16)
    for component, deltas in foreign.deltas(pairs).items():
        before, have, want = weights(source, component), weights(ours, component), weights(exactly, component)
        assert all(torch.equal(have[key], want[key].half()) for key in want)
        true = {key: before[key].double() + deltas.get(key.removesuffix(".weight"), 0) for key in want}
        ours_off = truth.relative_error(have, true)
        assert ours_off <= truth.relative_error(weights(rounding, component), true)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [None, "float16"])
def test_shards_of_the_base_are_read_and_made_anew(dtype, tmp_path):
    from diffusers import DiffusionPipeline, UNet2DConditionModel

    pairs = pairs_of("sdxl")
    source = tmp_path / "base"
    shutil.copytree(tiny.folder("sdxl"), source)
    DiffusionPipeline.from_pretrained(source).unet.save_pretrained(source / "unet", max_shard_size="300KB")
    (source / UNET).unlink(missing_ok=True)
    assert len(list((source / "unet").glob("*.safetensors"))) > 3
    whole = fused(tiny.folder("sdxl"), adapter_of(pairs), tmp_path / "whole", dtype=dtype)
    joined = fused(source, adapter_of(pairs), tmp_path / "joined", dtype=dtype)
    split = fused(source, adapter_of(pairs), tmp_path / "split", dtype=dtype, max_shard_size="200KB")
    assert [path.name for path in (joined / "unet").glob("*.safetensors")] == [UNET.partition("/")[2]]
    assert not list(joined.rglob("*.index.json"))
    index = json.loads((split / "unet" / "diffusion_pytorch_model.safetensors.index.json").read_text())
    want = weights(whole, "unet")
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in want.values())
    for folder in (joined, split):
        have = weights(folder, "unet")
        assert have.keys() == want.keys()
        assert all(torch.equal(have[key], want[key]) for key in want)
        loaded = UNet2DConditionModel.from_pretrained(folder / "unet")
        assert truth.relative_error(loaded.state_dict(), want) == 0
    for name, file in index["weight_map"].items():
        assert name in load_file(split / "unet" / file)


def test_a_component_that_nothing_changes_is_the_bases_own_file(tmp_path):
    ours = fused(tiny.folder("sdxl"), adapter_of(pairs_of("sdxl", ("unet",))), tmp_path / "ours")
    for name in (TEXT, "text_encoder_2/model.safetensors", "vae/diffusion_pytorch_model.safetensors"):
        assert (ours / name).read_bytes() == (tiny.folder("sdxl") / name).read_bytes()
    assert (ours / UNET).read_bytes() != (tiny.folder("sdxl") / UNET).read_bytes()
    assert (ours / UNET).stat().st_size == (tiny.folder("sdxl") / UNET).stat().st_size


def test_integers_stay_integers_and_what_the_architecture_does_not_know_is_kept(tmp_path):
    from diffusers import DiffusionPipeline

    source = tiny.save(tiny.sdxl(), tmp_path / "base")
    known = "text_model.embeddings.position_ids"  # older checkpoints have it
    tensors = {**load_file(source / TEXT), known: torch.arange(77)[None]}
    save_file(tensors, source / TEXT, metadata={"format": "pt"})
    ours = fused(source, adapter_of(pairs_of("sdxl")), tmp_path / "ours", dtype="float16")
    after = load_file(ours / TEXT)
    assert torch.equal(after.pop(known), tensors[known])
    assert {tensor.dtype for tensor in after.values()} == {torch.float16}
    assert DiffusionPipeline.from_pretrained(ours).text_encoder is not None


def test_a_config_says_how_the_weights_are_stored_and_not_where(tmp_path):
    source = tiny.save(tiny.sdxl(), tmp_path / "base")
    for name, more in {"text_encoder": {"torch_dtype": "float32"}, "unet": {}, "vae": {}}.items():
        config = source / name / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "_name_or_path": "/home/me", **more}))
    ours = fused(source, adapter_of(pairs_of("sdxl")), tmp_path / "ours", dtype="bfloat16")
    configs = {name: json.loads((ours / name / "config.json").read_text()) for name in ("text_encoder", "unet", "vae")}
    assert configs["text_encoder"]["torch_dtype"] == configs["text_encoder"]["dtype"] == "bfloat16"
    assert not any(key in configs["unet"] for key in ("dtype", "torch_dtype"))
    assert not any("_name_or_path" in config for config in configs.values())


def test_old_names_of_attention_are_those_of_its_layers(tmp_path):
    from diffusers import UNet2DConditionModel

    config = {
        "block_out_channels": (8, 16),
        "down_block_types": ("AttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "AttnUpBlock2D"),
        "attention_head_dim": 4,
        "cross_attention_dim": 8,
        "norm_num_groups": 4,
        "layers_per_block": 1,
    }
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**config)
    unet.save_pretrained(tmp_path / "base" / "unet")
    file = tmp_path / "base" / UNET
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for key, tensor in load_file(file).items():
        is_old = ".attentions." in key and ".transformer_blocks." not in key
        for new, before in old.items():
            key = key.replace(f".{new}.", f".{before}.") if is_old else key  # noqa: PLW2901 - renamed step by step
        renamed[key] = tensor
    save_file(renamed, file, metadata={"format": "pt"})
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (tmp_path / "base" / "model_index.json").write_text(json.dumps(index))
    module = "down_blocks.0.attentions.0.to_out.0"
    base = from_configs("base", {"unet": config})
    rows, columns = base.components["unet"].modules[module]
    pair = LowRank(torch.ones(1, columns), torch.ones(rows, 1), 0.5)
    ours = fused(tmp_path / "base", Adapter({"unet": {module: pair}}), tmp_path / "ours")
    assert load_file(ours / UNET).keys() == renamed.keys()
    loaded = UNet2DConditionModel.from_pretrained(ours / "unet").state_dict()
    for key, tensor in unet.state_dict().items():
        assert torch.equal(loaded[key], tensor + 0.5 if key == f"{module}.weight" else tensor)


def damaged(change, tmp_path):
    source = tiny.save(tiny.sdxl(), tmp_path / "base")
    change(source)
    return fused(source, adapter_of(pairs_of("sdxl")), tmp_path / "ours")


def edit(file, **tensors):
    save_file({**load_file(file), **tensors}, file, metadata={"format": "pt"})


def test_weights_of_another_shape_than_the_config_says_are_an_error(tmp_path):
    with pytest.raises(SourceError, match=r"unet: conv_in.weight is 1×2, unet/config.json says 8×4×3×3"):
        damaged(lambda source: edit(source / UNET, **{"conv_in.weight": torch.zeros(1, 2)}), tmp_path)


@pytest.mark.parametrize("name", [UNET, TEXT, "vae/diffusion_pytorch_model.safetensors"])
def test_a_truncated_file_is_an_error(name, tmp_path):
    def cut(source):
        (source / name).write_bytes((source / name).read_bytes()[:-1])

    with pytest.raises(SourceError, match=f"base/{name} is not a sound safetensors file"):
        damaged(cut, tmp_path)


def test_a_tensor_that_two_files_have_is_an_error(tmp_path):
    def double(source):
        save_file({"conv_in.bias": torch.zeros(8)}, source / UNET.replace(".", "-00001-of-00002."))

    with pytest.raises(SourceError, match=r"both have conv_in.bias"):
        damaged(double, tmp_path)


def test_a_format_that_nothing_can_be_added_to_is_an_error(tmp_path):
    module = next(iter(pairs_of("sdxl")["unet"]))
    shape = base_of("sdxl").components["unet"].modules[module]
    with pytest.raises(SourceError, match=f"{module}.weight is stored as U8"):
        damaged(
            lambda source: edit(source / UNET, **{f"{module}.weight": torch.zeros(shape, dtype=torch.uint8)}),
            tmp_path,
        )


def test_numbers_with_scales_beside_them_are_refused_by_name(tmp_path):
    key = "down_blocks.0.resnets.0.conv1.weight_scale"
    with pytest.raises(SourceError, match=r"base/unet holds scaled float8.*weight_scale"):
        damaged(lambda source: edit(source / UNET, **{key: torch.ones(1)}), tmp_path)


def test_a_folder_in_float8_is_summed_in_float32_and_says_what_it_loses(tmp_path):
    pairs, source = pairs_of("sdxl"), tmp_path / "base"
    shutil.copytree(tiny.folder("sdxl"), source)
    before = load_file(source / UNET)
    edit(source / UNET, **{name: each.to(torch.float8_e4m3fn) for name, each in before.items()})
    have, loss = tmp_path / "ours", RoundingLoss()
    have.mkdir()
    files = PipelineFiles(source, tuple(files_of(source)), None)
    fuse(files, read_base("base", source), adapter_of(pairs), PipelineOutput(kind="pipeline"), have, loss)
    written = load_file(have / UNET)
    for name, delta in foreign.deltas(pairs)["unet"].items():
        summed = before[f"{name}.weight"].to(torch.float8_e4m3fn).float() + delta.float()
        error = (written[f"{name}.weight"].float() - summed).abs()
        assert bool((error <= 0.0626 * summed.abs() + 2**-9).all())
    assert 0 < loss.relative < 1


@pytest.mark.parametrize("lost", ["vae", "scheduler"])
def test_a_component_that_the_pipeline_names_has_to_be_there(lost, tmp_path):
    with pytest.raises(SourceError, match=f"can't be loaded as a pipeline: {lost} has no files"):
        damaged(lambda source: shutil.rmtree(source / lost), tmp_path)


def test_what_a_conversion_can_not_hold_is_an_error_also_where_no_lora_is(tmp_path):
    source = tiny.save(tiny.sdxl(), tmp_path / "base")
    edit(source / "vae/diffusion_pytorch_model.safetensors", **{"quant_conv.bias": torch.full((8,), 1e6)})
    with pytest.raises(LoramergeError, match=r"vae.quant_conv.bias: the base's values are more than float16 can hold"):
        fused(source, adapter_of(pairs_of("sdxl")), tmp_path / "ours", dtype="float16")


def test_a_full_disk_is_an_error_of_its_own(tmp_path):
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "model_index.json").symlink_to("/dev/full")
    source = tiny.folder("sdxl")
    files = PipelineFiles(source, tuple(files_of(source)), None)
    with pytest.raises(LoramergeError, match=r"can't be written"):
        fuse(files, base_of("sdxl"), adapter_of(pairs_of("sdxl")), PipelineOutput(kind="pipeline"), folder)


def inpainting_base(folder):
    """Nine input channels, a variant in shards beside the plain weights, another VAE, no safety checker."""
    from diffusers import AutoencoderTiny, StableDiffusionInpaintPipeline, UNet2DConditionModel

    plain = tiny.sd15()
    settings = {**plain.unet.config, "in_channels": 9, "_use_default_values": []}
    widths = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    vae = AutoencoderTiny(**widths, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))
    parts = {**plain.components, "unet": UNet2DConditionModel.from_config(settings), "vae": vae}
    pipeline = StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
    pipeline.save_pretrained(folder)
    pipeline.to(torch.float16).save_pretrained(folder, variant="fp16", max_shard_size="300KB")
    return folder


@pytest.mark.slow
def test_an_inpainting_pipeline_with_a_variant_in_shards_and_another_vae_is_one_for_diffusers(tmp_path):
    from diffusers import DiffusionPipeline

    source = inpainting_base(tmp_path / "base")
    located = parse(str(source), folder=tmp_path).locate()
    names = pipeline_files(located, "fp16")
    assert [name for name in names if "-of-" in name]
    files = PipelineFiles(source, names, "fp16")
    base = read_base("base", source)
    ones = torch.ones(1, 9, 3, 3)
    pair = LowRank(ones, torch.ones(16, 1, 1, 1), 0.25)
    output = PipelineOutput(kind="pipeline", max_shard_size="200KB")
    (tmp_path / "fused").mkdir()
    fuse(files, base, Adapter({"unet": {"conv_in": pair}}), output, tmp_path / "fused")
    before = DiffusionPipeline.from_pretrained(source, variant="fp16", dtype=torch.float16)
    after = DiffusionPipeline.from_pretrained(tmp_path / "fused", dtype=torch.float16)
    assert type(after).__name__ == "StableDiffusionInpaintPipeline"
    assert type(after.vae).__name__ == "AutoencoderTiny"
    assert after.safety_checker is None
    want = before.unet.state_dict()
    want["conv_in.weight"] = (want["conv_in.weight"].float() + 0.25).half()
    have = after.unet.state_dict()
    assert have.keys() == want.keys()
    assert all(torch.equal(have[name], want[name]) for name in want)
    assert all(
        torch.equal(have, want) for have, want in zip(after.vae.parameters(), before.vae.parameters(), strict=True)
    )
