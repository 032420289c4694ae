"""Whatever a readable file holds, it is shown for what it is or refused by name."""

from __future__ import annotations

import json
from itertools import count

import foreign
import pytest
import torch
from command_line import invoke
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from loramerge.analysis.inspection import inspect
from loramerge.errors import ExitCode, LoramergeError

STRANGERS = {
    "flux": ("lora_unet_double_blocks_0_img_attn_qkv", "unknown.lora_unet_double_blocks.0", "FLUX.1"),
    "single": ("diffusion_model.single_blocks.3.linear1", "unknown.diffusion_model.single_blocks.3", "Chroma"),
    "layers": ("diffusion_model.layers.2.attention.qkv", "unknown.diffusion_model.layers.2", "Z-Image"),
    "joint": ("lora_unet_joint_blocks_7_x_block_attn_qkv", "unknown.lora_unet_joint_blocks.7", "Stable Diffusion 3"),
    "diffusers": ("transformer.transformer_blocks.0.attn.to_q", "unknown.transformer.transformer_blocks.0", "FLUX.1"),
    "nobody": ("lora_unet_nobody_knows_me", "unknown.lora_unet_nobody_knows_me", None),
}
ADAPTERS = {
    "whisper": ("model.encoder.layers.1.self_attn.q_proj", "openai/whisper-large-v3", "Whisper"),
    "bert": ("bert.encoder.layer.1.attention.self.query", "google-bert/bert-base-uncased", "BERT"),
    "gemma": ("model.layers.1.self_attn.q_proj", "google/gemma-2b", "language model"),
    "gpt2": ("transformer.h.1.attn.c_attn", "openai-community/gpt2", "GPT-2"),
}


def halves(stem, endings=("lora_A", "lora_B"), *, rank=4, width=2000):
    down, up = endings
    return {f"{stem}.{down}.weight": torch.ones(rank, width), f"{stem}.{up}.weight": torch.ones(width, rank)}


@pytest.mark.parametrize("case", STRANGERS)
def test_a_lora_of_another_family_is_shown_and_not_called_ours(case, tmp_path):
    stem, block, title = STRANGERS[case]
    path = tmp_path / "x.safetensors"
    save_file({**halves(stem), f"{stem}.alpha": torch.tensor(2.0)}, path)
    found = inspect(str(path))
    ((module,), (group,)) = found.modules, found.blocks
    assert (module.component, module.name, module.rank, module.alpha) == ("unknown", stem, 4, 2.0)
    assert module.shape == (2000, 2000)
    assert group.name == block
    assert found.family is None
    assert title in found.candidates if title else not found.candidates
    said = invoke("inspect", path)
    assert said.exit_code == ExitCode.DONE
    assert said.stderr == "x: read …\nx: measure …\n"
    assert (
        f"family   unknown{f'; modules have such names in {found.candidates[0]}' if title else chr(10)}" in said.stdout
    )
    assert "unet 1" not in said.stdout


@pytest.mark.parametrize("case", ADAPTERS)
def test_an_adapter_of_another_kind_of_model_is_shown(case, tmp_path):
    name, model, title = ADAPTERS[case]
    pairs = {name: (torch.ones(8, 16), torch.ones(16, 8), 16.0)}
    foreign.write_peft(pairs, tmp_path, base_model_name_or_path=model, fan_in_fan_out=case == "gpt2")
    (found,) = json.loads(invoke("inspect", tmp_path, "--json").stdout)
    assert found["family"] is None
    assert found["trained_on"] == model
    assert title in found["candidates"][0]
    assert found["components"].keys() == {"unknown"}
    assert found["modules"][0]["name"] == name
    assert (found["ranks"], found["alphas"]) == ({"8": 1}, {"16": 1})
    assert f"trained on  {model}" in invoke("inspect", tmp_path).stdout


def test_settings_in_the_metadata_of_a_transformer(tmp_path):
    settings_said = {"transformer.r": 4, "transformer.lora_alpha": 8, "transformer.alpha_pattern": {"^x.to_q": 2}}
    tensors = {**halves("transformer.x.to_q"), **halves("transformer.x.to_k")}
    metadata = {"lora_adapter_metadata": json.dumps(settings_said)}
    save_file(tensors, tmp_path / "x.safetensors", metadata)
    found = inspect(str(tmp_path / "x.safetensors"))
    assert {module.name: module.alpha for module in found.modules} == {"transformer.x.to_q": 2, "transformer.x.to_k": 8}


@pytest.mark.parametrize("kernel", [(3,), (1, 3, 3)])
def test_convolutions_of_one_and_three_dimensions(kernel, tmp_path):
    down, up = torch.ones(2, 8, *kernel), torch.ones(8, 2, *(1 for _ in kernel))
    save_file({"x.lora_A.weight": down, "x.lora_B.weight": up}, tmp_path / "x.safetensors")
    (module,) = inspect(str(tmp_path / "x.safetensors")).modules
    assert module.shape == (8, 8, *kernel)


def test_part_of_a_flux_lora_is_known(tmp_path):
    clip = {}
    for layer in range(3):
        clip |= halves(f"lora_te1_text_model_encoder_layers_{layer}_mlp_fc1", ("lora_down", "lora_up"), width=768)
    save_file(clip | halves("lora_unet_single_blocks_0_linear1", ("lora_down", "lora_up")), tmp_path / "x.safetensors")
    found = inspect(str(tmp_path / "x.safetensors"))
    assert {group.name: len(group.modules) for group in found.components} == {"text_encoder": 3, "unknown": 1}
    assert "FLUX.1" in found.candidates


def test_two_loras_of_another_family_are_compared(tmp_path):
    for name in "ab":
        save_file(halves("transformer.transformer_blocks.0.attn.to_q"), tmp_path / f"{name}.safetensors")
    result = invoke("inspect", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--json")
    assert json.loads(result.stdout)[0]["overlap"][0]["cosine"] == 1


def test_alphas_at_the_ends_of_what_float32_holds_are_numbers_everywhere(tmp_path):
    paths = []
    for name, alpha in (("a", 1e38), ("b", 1e38), ("c", 1e-300)):
        stem, paths = "lora_unet_down_blocks_0_attentions_0_proj_in", [*paths, tmp_path / f"{name}.safetensors"]
        factors = {f"{stem}.lora_down.weight": torch.full((1, 320), 1e30), f"{stem}.lora_up.weight": torch.ones(320, 1)}
        save_file({**factors, f"{stem}.alpha": torch.tensor(alpha, dtype=torch.float64)}, paths[-1])
    one, _, small = json.loads(invoke("inspect", *paths, "--json").stdout)
    assert one["overlap"][0]["cosine"] == 1
    assert one["norm"] == pytest.approx(1e68 * 320)
    assert small["norm"] == pytest.approx(1e-270 * 320)
    assert "inf" not in invoke("inspect", *paths).stdout


PREFIXES = st.sampled_from([
    "", "unet.", "text_encoder.", "text_encoder_2.", "transformer.", "base_model.model.", "lora_unet_", "lora_te_",
    "lora_te2_", "lycoris_", "diffusion_model.", "model.diffusion_model.", "text_encoders.", "clip_g.", "lora_",
])  # fmt: skip
MODULES = st.sampled_from([
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", "down_blocks.0.attentions.0.proj_in", "conv1", "x²",
    "mid_block", "mid_block.²", "input_blocks.1.1.proj_in", "text_model.encoder.layers.0.self_attn.q_proj",
    "text_model.encoder.layers", "double_blocks.0.img_attn.qkv", "layers.0.attention.qkv", "model.layers.9999999999.x",
    "attn1.processor.to_k_lora", "\u202e\x1b[2J", "a..b", ".", "layers_0_a", "0",
])  # fmt: skip
ENDINGS = st.sampled_from([
    ".lora_A.weight", ".lora_B.weight", ".lora_A.default.weight", ".lora_B.default.weight", ".lora_down.weight",
    ".lora_up.weight", ".lora.down.weight", ".lora.up.weight", ".alpha", ".weight", ".diff", "",
])  # fmt: skip
KEYS = st.builds(str.__add__, st.builds(str.__add__, PREFIXES, MODULES | st.text(max_size=8)), ENDINGS)
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3]), max_size=5).map(tuple)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float8_e4m3fn, torch.int8, torch.bool])
TENSORS = st.dictionaries(
    KEYS, st.tuples(SHAPES, DTYPES, st.sampled_from([0.0, 1.0, -2.0, 1e30, float("nan")])), max_size=4
)
STEMS = st.builds(str.__add__, PREFIXES, MODULES | st.text(max_size=8))
NAMES = count()


def answered(path):
    """Inspected, or refused for a reason: never anything else."""
    try:
        found = inspect(str(path))
    except LoramergeError:
        return
    json.dumps(found.as_data(), allow_nan=False)
    for options in ((), ("-v",), ("--json",)):
        assert invoke("inspect", path, *options).exit_code == ExitCode.DONE
    assert invoke("inspect", path, path).exit_code == ExitCode.DONE


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TENSORS)
@example({})
@example({"": ((), torch.float32, 1.0)})
def test_any_readable_file_has_an_answer(tmp_path, tensors):
    path = tmp_path / f"{next(NAMES)}.safetensors"
    save_file({key: torch.full(shape, value).to(dtype) for key, (shape, dtype, value) in tensors.items()}, path)
    answered(path)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(STEMS, st.sampled_from([1.0, -2.0, 1e30]), st.none() | st.sampled_from([1.0, 1e-300, 1e38])),
                min_size=1, max_size=4), st.sampled_from([("lora_A", "lora_B"), ("lora_down", "lora_up")]))  # fmt: skip
@example([("unet.conv1", 1.0, None)], ("lora_A", "lora_B"))
@example([("lora_unet_x²", 1.0, 1.0)], ("lora_down", "lora_up"))
def test_whole_pairs_under_any_names_have_an_answer(tmp_path, modules, endings):
    path = tmp_path / f"{next(NAMES)}.safetensors"
    tensors = {}
    for stem, value, alpha in modules:
        tensors |= {key: tensor * value for key, tensor in halves(stem, endings, rank=1, width=4).items()}
        if alpha is not None:
            tensors[f"{stem}.alpha"] = torch.tensor(alpha, dtype=torch.float64)
    save_file(tensors, path)
    answered(path)
