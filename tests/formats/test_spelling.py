"""Whatever the spelling of its keys, a LoRA is read to the same numbers under the same names."""

import json
from dataclasses import replace

import foreign
import pytest
import tiny
import torch
from canonical import base_of, read
from safetensors.torch import load_file, save_file

from loramerge.errors import SourceError
from loramerge.families import FAMILIES as ALL
from loramerge.formats.reading import read_lora
from loramerge.formats.same_throughout import check_one_adapter
from loramerge.formats.spelling import spelled

FAMILIES = ("sd15", "sdxl")


def random_pairs(family, **options):
    return foreign.random_lora(tiny.shared(family), rank=4, alpha=2.0, seed=1, conv_rank=3, few=True, **options)


def assert_same(adapter, expected):
    """Bit for bit."""
    assert [place[:2] for place in adapter] == [place[:2] for place in expected]
    for (_, name, found), (_, _, wanted) in zip(adapter, expected, strict=True):
        assert found.scale == wanted.scale, name
        assert torch.equal(found.down, wanted.down), name
        assert torch.equal(found.up, wanted.up), name


def canonical(pairs, folder, family, *, alpha=True):
    return read(foreign.write_kohya(pairs, folder / "canonical.safetensors", alpha=alpha), base_of(family))


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", foreign.SPELLINGS)
def test_every_spelling_is_the_canonical_adapter(name, family, alpha, tmp_path):
    pairs, config = random_pairs(family), tiny.shared(family).unet.config
    path = foreign.write_spelling(pairs, tmp_path / "x.safetensors", foreign.SPELLINGS[name], config, alpha=alpha)
    assert_same(read(path, base_of(family)), canonical(pairs, tmp_path, family, alpha=alpha))


@pytest.mark.parametrize("components", [("unet",), ("text_encoder",), ("text_encoder_2",), ("unet", "text_encoder")])
@pytest.mark.parametrize("name", foreign.NAMELESS)
def test_the_component_is_told_by_what_fits_where_no_prefix_says_it(name, components, tmp_path):
    pairs, config = random_pairs("sdxl", components=components), tiny.shared("sdxl").unet.config
    path = foreign.write_spelling(pairs, tmp_path / "x.safetensors", foreign.NAMELESS[name], config)
    assert_same(read(path, base_of("sdxl")), canonical(pairs, tmp_path, "sdxl"))


@pytest.mark.parametrize("prefix", [
    "unet:", "unet:unet.", "unet:diffusion_model.", "unet:model.diffusion_model.",
    "text_encoder:", "text_encoder:text_encoder.", "text_encoder:transformer.",
    "text_encoder_2:", "text_encoder_2:text_encoder_2.", "text_encoder_2:transformer.",
])  # fmt: skip
def test_a_peft_folder_around_what_holds_the_component(prefix, tmp_path):
    component, _, attribute = prefix.partition(":")
    pairs, prefix = random_pairs("sdxl", components=(component,))[component], f"base_model.model.{attribute}"
    folder = foreign.write_peft(pairs, tmp_path / "x", prefix=prefix, adapter="my-style")
    expected = foreign.write_peft(pairs, tmp_path / "expected")
    assert_same(read(folder, base_of("sdxl")), read(expected, base_of("sdxl")))


def test_patterns_are_for_the_names_that_the_file_has(tmp_path):
    """PEFT around Stability's own UNet: modules and patterns bear its names."""
    pairs, config = random_pairs("sd15", components=("unet",), modules=r"attn1\.to_[qk]$")["unet"], base_of("sd15")
    names = {name: foreign.sgm_name(name, tiny.shared("sd15").unet.config) for name in pairs}
    odd = next(iter(pairs))
    pairs[odd] = (*pairs[odd][:2], 7.0)
    foreign.write_peft({names[name]: pair for name, pair in pairs.items()}, tmp_path / "x")
    assert names[odd] in json.loads((tmp_path / "x" / "adapter_config.json").read_text())["alpha_pattern"]
    foreign.write_peft(pairs, tmp_path / "expected")
    assert_same(read(tmp_path / "x", config), read(tmp_path / "expected", config))


def test_a_peft_file_alone_is_read_where_all_modules_have_alphas(tmp_path):
    pairs = random_pairs("sd15", components=("unet",))
    folder = foreign.write_peft(pairs["unet"], tmp_path / "x", prefix="base_model.model.unet.")
    tensors = load_file(folder / "adapter_model.safetensors")
    alphas = {f"base_model.model.unet.{name}.alpha": torch.tensor(pair[2]) for name, pair in pairs["unet"].items()}
    save_file(tensors | alphas, tmp_path / "alone.safetensors")
    assert_same(read(tmp_path / "alone.safetensors", base_of("sd15")), canonical(pairs, tmp_path, "sd15"))
    save_file(tensors | alphas, folder / "adapter_model.safetensors")
    assert_same(read(folder, base_of("sd15")), canonical(pairs, tmp_path, "sd15"))


def test_two_alphas_that_contradict_each_other_are_refused(tmp_path):
    pairs = random_pairs("sd15", components=("unet",), modules=r"attn1\.to_q$")["unet"]
    path = foreign.write_peft(pairs, tmp_path / "x") / "adapter_model.safetensors"
    save_file({**load_file(path), f"base_model.model.{next(iter(pairs))}.alpha": torch.tensor(3.0)}, path)
    with pytest.raises(SourceError, match=r"an alpha of its own, 3, and adapter_config\.json says another"):
        read(path.parent, base_of("sd15"))


def test_what_fits_two_text_encoders_alike_is_refused(tmp_path):
    base = base_of("sdxl")
    twins = {**base.components, "text_encoder_2": base.components["text_encoder"]}
    twins["text_encoder_2"] = replace(twins["text_encoder"], name="text_encoder_2")
    pairs = random_pairs("sdxl", components=("text_encoder",))
    path = foreign.write_spelling(
        pairs, tmp_path / "x.safetensors", foreign.NAMELESS["lycoris_…"], tiny.shared("sdxl").unet.config
    )
    with pytest.raises(SourceError, match="fit text_encoder and text_encoder_2 alike"):
        read_lora("x", tmp_path, [path.name], replace(base, components=twins))


@pytest.mark.parametrize(
    "stem",
    [
        "lora_unet_double_blocks_0_img_attn_qkv",
        "diffusion_model.layers.0.attention.qkv",
        "base_model.model.model.encoder.layers.0.self_attn.q_proj",
        "base_model.model.bert.encoder.layer.0.attention.self.query",
        "transformer.single_transformer_blocks.0.attn.to_q",
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q",
        "model.layers.0.mlp.gate_proj",
        "prior.down_blocks.0.0.attention",
    ],
)
def test_modules_of_other_models_are_of_no_known_component(stem, tmp_path):
    halves = {f"{stem}.lora_A.weight": torch.ones(2, 8), f"{stem}.lora_B.weight": torch.ones(8, 2)}
    (tmp_path / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 2}')
    save_file(halves, tmp_path / "adapter_model.safetensors")
    names = ["adapter_model.safetensors", *(["adapter_config.json"] if stem.startswith("base_model") else [])]
    _, adapter = read_lora("x", tmp_path, names, base_of("sd15"))
    assert [place[:2] for place in adapter] == [("unknown", stem.removeprefix("base_model.model."))]


@pytest.mark.parametrize("family", [name for name, family in ALL.items() if family.text_encoders])
def test_what_is_written_before_a_text_encoder_is_read(family):
    for encoder in ALL[family].text_encoders.values():
        for prefix in encoder.kohya:
            assert spelled(f"{prefix}layers_0_fc.lora_down.weight").said == prefix
        if encoder.comfyui:
            found = spelled(f"text_encoders.{encoder.comfyui}.transformer.layers.0.fc.lora_A.weight")
            assert (found.said, found.module) == (encoder.comfyui, "layers.0.fc")


@pytest.mark.parametrize(
    ("endings", "names"),
    [
        (("lora_A.default.weight", "lora_B.default.weight", "lora_magnitude_vector.default.weight"), ["default"]),
        (("lora_A.default.weight", "lora_B.default.weight", "lora_magnitude_vector"), ["default"]),
        (("lora_A.weight", "lora_B.weight", "lora_magnitude_vector.weight"), ["one without a name"]),
        (("lora_A.weight", "lora_B.weight", "lora_magnitude_vector.default.weight"), ["one without a name"]),
        (("lora_A.default.weight", "lora_B.default.weight", "dora_scale", "lora_mid.weight", "alpha"), ["default"]),
        (("lora_A.a.weight", "lora_B.a.weight", "lora_magnitude_vector.b.weight"), ["a", "b"]),
    ],
)
def test_a_dora_with_the_adapters_name_in_its_keys_is_one_adapter(endings, names):
    keys = [spelled(f"unet.conv_in.{ending}") for ending in endings]
    if len(names) == 1:
        check_one_adapter("x", keys)
    else:
        with pytest.raises(SourceError, match=f"holds 2 adapters: {', '.join(names)}"):
            check_one_adapter("x", keys)


def test_a_key_without_a_module_is_none():
    assert spelled("unet.lora_A.weight").module == "unet"
    assert spelled("unet..lora_A.weight") is None
    assert spelled(".lora_A.weight") is None
    assert spelled("unet.conv_in.weight") is None
