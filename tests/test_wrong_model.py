"""LoRAs that do not fit: each is refused by its name, module and both shapes, and nothing is written."""

import pytest
import torch
from command_line import invoke
from safetensors.torch import save_file

from loramerge.bases.published import architecture
from loramerge.errors import ExitCode


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pair(stem, shape, rank=1):
    out, *rest = shape
    return {
        f"{stem}.lora_A.weight": torch.ones(rank, *rest),
        f"{stem}.lora_B.weight": torch.ones(out, rank, *[1] * (len(rest) - 1)),
    }


def lora_for(size, *names, path="ink.safetensors", metadata=None):
    """A file in the original names, with these layers of a published model."""
    base = architecture(size)
    originals = base.components[base.main].layout.originals
    tensors = {}
    for name in names:
        tensors |= pair(f"diffusion_model.{name}", originals[name].shape)
    save_file(tensors, path, metadata)
    return path


def refused(*arguments, code=ExitCode.MISMATCH):
    from pathlib import Path

    before = {path.name for path in Path.cwd().iterdir()}
    done = invoke("merge", "ink.safetensors", "-o", "merged.safetensors", *arguments)
    assert done.exit_code == code, done.stderr
    assert {path.name for path in Path.cwd().iterdir()} == before
    return done.stderr


def test_flux_on_hunyuan(here):
    del here
    lora_for("flux", "double_blocks.0.img_attn.qkv", "double_blocks.0.img_mod.lin", "img_in", "vector_in.in_layer")
    said = refused("--base", "hunyuan_video")
    assert "LoRA ink: 1 of 6 modules do not fit HunyuanVideo: transformer.img_in is 3072×64" in said
    assert "It looks like a LoRA for FLUX.1" in said


def test_an_old_spelling_of_another_family(here):
    """As diffusers wrote LoRAs of attention processors."""
    module = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora"
    save_file(pair(module, (320, 768)), here / "ink.safetensors")
    assert "It looks like a LoRA for Stable Diffusion 1.5, the base is FLUX.1" in refused("--base", "flux")


def test_what_fits_by_chance_is_said(here):
    """By all names and shapes it is a LoRA of HunyuanVideo as well."""
    lora_for("flux", "double_blocks.0.img_attn.qkv", metadata={"ss_base_model_version": "flux1"})
    done = invoke("merge", "ink.safetensors", "-o", "merged.safetensors", "--base", "hunyuan_video")
    assert done.exit_code == ExitCode.DONE
    assert "LoRA ink says that it is for FLUX.1, and the base is HunyuanVideo" in done.stderr
    assert (here / "merged.safetensors").exists()


def test_a_small_model_on_a_large_one(here):
    del here
    lora_for("flux2/klein-4b", "double_blocks.0.img_attn.qkv", "single_blocks.0.linear2")
    said = refused("--base", "flux2/klein-9b")
    assert "LoRA ink: 2 of 2 modules do not fit FLUX.2 (klein-9b)" in said
    assert "transformer.double_blocks.0.img_attn.qkv is 9216×3072, the base has 12288×4096" in said
    assert "It looks like a LoRA for FLUX.2 (klein-4b)" in said


def test_wan_of_one_size_on_another(here):
    del here
    lora_for("wan/1.3b", "blocks.0.self_attn.q", "blocks.0.ffn.0", "text_embedding.0")
    said = refused("--base", "wan/14b")
    assert "transformer.blocks.0.attn1.to_q is 1536×1536, the base has 5120×5120" in said


def test_one_of_two_denoisers_without_a_word(here):
    del here
    lora_for("wan", "blocks.0.self_attn.q")
    said = refused("--base", "wan/t2v-a14b")
    assert "ink.safetensors does not say which of the base's denoisers it is for: transformer, transformer_2" in said


def test_a_key_that_nothing_explains(here):
    del here
    halves = pair("diffusion_model.double_blocks.0.img_attn.qkv", (9216, 3072))
    save_file(halves | {"diffusion_model.double_blocks.0.img_attn.secret": torch.ones(1)}, "ink.safetensors")
    said = refused("--base", "flux", code=ExitCode.BAD_SOURCE)
    assert "1 key that no part of a LoRA explains: diffusion_model.double_blocks.0.img_attn.secret" in said


def test_a_module_that_the_base_lacks(here):
    del here
    halves = pair("diffusion_model.double_blocks.0.img_attn.qkv", (9216, 3072))
    save_file(halves | pair("diffusion_model.double_blocks.19.img_attn.qkv", (9216, 3072)), "ink.safetensors")
    said = refused("--base", "flux")
    assert "double_blocks.19.img_attn.qkv is 9216×3072, the base has no such module" in said


@pytest.mark.parametrize("rows", [6144, 3072, 9217])
def test_half_of_a_fused_layer(here, rows):
    del here
    save_file(pair("diffusion_model.double_blocks.0.img_attn.qkv", (rows, 3072)), "ink.safetensors")
    said = refused("--base", "flux")
    assert f"transformer.double_blocks.0.img_attn.qkv is {rows}×3072, the base has 9216×3072" in said


def test_an_alpha_on_one_part_only(here):
    del here
    halves = {}
    for part in ("to_q", "to_k"):
        halves |= pair(f"transformer.transformer_blocks.0.attn.{part}", (3072, 3072))
    save_file(halves | {"transformer.transformer_blocks.0.attn.to_q.alpha": torch.tensor(1.0)}, "ink.safetensors")
    said = refused("--base", "flux")
    assert "transformer.transformer_blocks.0.attn.to_q has an alpha and transformer.transformer_blocks.0.attn" in said
    assert "both are parts of double_blocks.0.img_attn.qkv" in said


def test_only_some_parts_of_a_fused_layer_are_no_mistake(here):
    save_file(pair("transformer.transformer_blocks.0.attn.to_q", (3072, 3072)), here / "ink.safetensors")
    settings = ["--base", "flux", "--set", "outputs.0.format=comfyui"]
    done = invoke("merge", "ink.safetensors", "-o", "m.safetensors", *settings)
    assert done.exit_code == ExitCode.DONE


@pytest.mark.parametrize("output", ["kohya", "comfyui"])
def test_formats_that_have_no_names_for_the_family(here, output):
    del here
    base = architecture("longcat")
    module = "transformer_blocks.0.attn.to_q"
    save_file(pair(f"transformer.{module}", base.components["transformer"].modules[module]), "ink.safetensors")
    said = refused("--base", "longcat", "--set", f"outputs.0.format={output}")
    assert f"`format: {output}` has the names of original checkpoints, and those of LongCat-Image are not known" in said


def test_several_candidates_are_listed(here):
    del here
    lora_for("wan", "blocks.0.self_attn.q")
    said = refused()
    assert "could be for several models, by its names and shapes: wan (Wan), " in said
    assert "say which with --base, such as --base wan" in said


def test_a_size_that_is_none(here):
    del here
    lora_for("wan", "blocks.0.self_attn.q")
    said = refused("--base", "wan/3b", code=ExitCode.USAGE)
    assert "--base wan/3b: neither a folder nor a family; did you mean 'wan/" in said
