import foreign
import numpy as np
import pytest
import tiny
import torch
import truth
from canonical import adapter_of, base_of, files_of, fuse
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from loramerge.adapter import Adapter, LowRank
from loramerge.bases.pipeline_files import PipelineFiles
from loramerge.errors import LoramergeError, SourceError
from loramerge.methods import Cat
from loramerge.outputs import PipelineOutput
from loramerge.stages.combine import WeightedAdapter, combine

pytestmark = pytest.mark.slow

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def pairs_of(family):
    return foreign.random_lora(tiny.shared(family), rank=4, alpha=2, seed=3, conv_rank=3)


def fused(family, adapter, tmp_path, base_folder=None, variant=None, **settings):
    folder = tmp_path / "fused"
    folder.mkdir()
    source = base_folder or tiny.folder(family)
    files = PipelineFiles(source, tuple(files_of(source)), variant)
    fuse(files, base_of(family), adapter, PipelineOutput(kind="pipeline", **settings), folder)
    return folder


def weights(folder, component):
    found = {}
    for file in sorted((folder / component).glob("*.safetensors")):
        found |= load_file(file)
    return found


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_a_sum_is_formed_in_float32_and_rounded_once(stored, dtype, tmp_path):
    pipeline = tiny.sdxl().to(DTYPES[stored])
    base = tiny.save(pipeline, tmp_path / "base")
    pairs = pairs_of("sdxl")
    folder = fused("sdxl", adapter_of(pairs), tmp_path, base_folder=base, dtype=dtype, lora_scale=0.5)
    for component, modules in foreign.deltas(pairs).items():
        before, after = weights(base, component), weights(folder, component)
        assert before.keys() == after.keys()
        for key, value in after.items():
            delta = modules.get(key.removesuffix(".weight"), torch.zeros(()))
            exact = before[key].double() + 0.5 * delta
            assert value.dtype == DTYPES[dtype]
            # One rounding of a float32 sum: half a unit in the last place, and float32's own error below it.
            slack = torch.finfo(DTYPES[dtype]).eps * 0.51 * exact.abs() + 1e-6 * exact.abs().max() + 1e-7
            assert bool(((value.double() - exact).abs() <= slack).all())


def test_without_a_dtype_the_bases_own_is_kept(tmp_path):
    pipeline = tiny.sdxl()
    pipeline.unet.half()
    base = tiny.save(pipeline, tmp_path / "base")
    folder = fused("sdxl", adapter_of(pairs_of("sdxl")), tmp_path, base_folder=base)
    assert {tensor.dtype for tensor in weights(folder, "unet").values()} == {torch.float16}
    assert {tensor.dtype for tensor in weights(folder, "text_encoder").values()} == {torch.float32}


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_text_encoders_keep_the_names_that_the_source_had(family, prefix, tmp_path):
    base, pipeline = tmp_path / "base", tiny.FAMILIES[family]()
    if prefix:
        tiny.save(pipeline, base)
    else:
        pipeline.save_pretrained(base)  # as transformers 5 names what was built in code
    folder = fused(family, adapter_of(pairs_of(family)), tmp_path, base_folder=base)
    for file in sorted(base.glob("text_encoder*/*.safetensors")):
        with safe_open(file, "pt") as source, safe_open(folder / file.relative_to(base), "pt") as written:
            assert set(written.keys()) == set(source.keys())


def test_the_rest_of_the_pipeline_is_copied_and_no_path_is_left(tmp_path):
    folder = fused("sdxl", adapter_of(pairs_of("sdxl")), tmp_path)
    source = tiny.folder("sdxl")
    for component in ("tokenizer", "tokenizer_2", "scheduler"):
        for name in files_of(source / component):
            assert (folder / component / name).read_bytes() == (source / component / name).read_bytes()
    for config in folder.rglob("*.json"):
        assert str(source) not in config.read_text()
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in folder.rglob("*"))


def test_weights_are_split_at_the_shard_size(tmp_path):
    from diffusers import DiffusionPipeline

    folder = fused("sdxl", adapter_of(pairs_of("sdxl")), tmp_path, max_shard_size="500KB")
    shards = list((folder / "unet").glob("*-of-*.safetensors"))
    assert len(shards) > 1
    reloaded = DiffusionPipeline.from_pretrained(folder)
    assert truth.relative_error(reloaded.unet.state_dict(), weights(folder, "unet")) == 0


def test_a_variant_of_the_base_is_used(tmp_path):
    pipeline = tiny.sdxl().to(torch.float16)
    base = tiny.save(pipeline, tmp_path / "base", variant="fp16")
    folder = fused("sdxl", adapter_of(pairs_of("sdxl")), tmp_path, base_folder=base, variant="fp16")
    assert (folder / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert {tensor.dtype for tensor in weights(folder, "unet").values()} == {torch.float16}


def test_a_fused_text_encoder_draws_what_the_stacked_one_draws(tmp_path):
    from diffusers import DiffusionPipeline

    options = {"rank": 4, "alpha": 4, "conv_rank": 2, "few": True}
    pairs = [foreign.random_lora(tiny.shared("sdxl"), seed=seed, **options) for seed in range(2)]
    stacked = DiffusionPipeline.from_pretrained(tiny.folder("sdxl"))
    loras = []
    for name, lora, weight in zip("ab", pairs, (0.7, 0.8), strict=True):
        path = foreign.write_diffusers(lora, tmp_path / f"{name}.safetensors")
        stacked.load_lora_weights(path, adapter_name=name)
        loras.append(WeightedAdapter(name, adapter_of(lora), weight))
    stacked.set_adapters(["a", "b"], adapter_weights=[0.7, 0.8])
    merged = combine(loras, base_of("sdxl"), Cat(combination_type="cat"), device="cpu").adapter
    alone = DiffusionPipeline.from_pretrained(fused("sdxl", merged, tmp_path, dtype="float32"))
    untouched = DiffusionPipeline.from_pretrained(tiny.folder("sdxl"))
    pictures = [drawn(pipeline) for pipeline in (stacked, alone, untouched)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 2e-4
    assert np.abs(pictures[0] - pictures[2]).max() >= 1e-2


def drawn(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    options = {"height": tiny.SIZE, "width": tiny.SIZE, "num_inference_steps": 2, "output_type": "np"}
    return pipeline("a bowl", generator=torch.Generator().manual_seed(0), **options).images[0]


def test_a_sum_that_float16_can_not_hold_is_an_error(tmp_path):
    module = "down_blocks.1.attentions.0.proj_in"
    shape = base_of("sdxl").components["unet"].modules[module]
    huge = Adapter({"unet": {module: LowRank(torch.full((1, shape[1]), 1e3), torch.full((shape[0], 1), 1e3), 1.0)}})
    with pytest.raises(LoramergeError, match="more than float16 can hold"):
        fused("sdxl", huge, tmp_path, dtype="float16")


def test_a_base_whose_weights_do_not_fit_its_config_is_an_error(tmp_path):
    base = tiny.save(tiny.sdxl(), tmp_path / "base")
    (base / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    save_file({"x": torch.zeros(1)}, base / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(SourceError, match="can't be loaded as a pipeline"):
        fused("sdxl", adapter_of(pairs_of("sdxl")), tmp_path, base_folder=base)


def test_a_component_that_the_lora_does_not_touch_is_checked_as_well(tmp_path):
    base = tiny.save(tiny.sdxl(), tmp_path / "base")
    file = base / "text_encoder_2" / "model.safetensors"
    tensors = load_file(file)
    del tensors["text_model.encoder.layers.0.mlp.fc1.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    unet_only = {"unet": pairs_of("sdxl")["unet"]}
    with pytest.raises(SourceError, match=r"text_encoder_2 lacks"):
        fused("sdxl", adapter_of(unet_only), tmp_path, base_folder=base)


def test_a_text_encoder_that_lacks_weights_is_refused_instead_of_filled_at_random(tmp_path):
    base = tiny.save(tiny.sdxl(), tmp_path / "base")
    file = base / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    del tensors["text_model.encoder.layers.0.mlp.fc1.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"lacks text_model.encoder.layers.0.mlp.fc1.weight"):
        fused("sdxl", adapter_of(pairs_of("sdxl")), tmp_path, base_folder=base)
