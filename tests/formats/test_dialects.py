"""How trainers other than those of Stable Diffusion spell their files: read exactly, or refused by name."""

from __future__ import annotations

import functools
import json

import pytest
import torch
from canonical import read
from diffusers.loaders import lora_conversion_utils
from families.models import config_of
from families.rows import ROWS
from safetensors.torch import load_file, save_file

from loramerge.bases.base import from_configs
from loramerge.bases.fit import fit
from loramerge.errors import LoramergeError
from loramerge.families import FAMILIES

A_B, DOWN_UP = ("lora_A.weight", "lora_B.weight"), ("lora_down.weight", "lora_up.weight")


@functools.cache
def base_of(family):
    row = next(row for row in ROWS if row.family == family)
    return from_configs("tiny", {FAMILIES[family].denoisers[0]: config_of(row)})


def flat(name):
    return name.replace(".", "_")


def pairs(shapes):
    generator = torch.Generator().manual_seed(0)
    for name, (out, *rest) in shapes.items():
        up = torch.randn(out, 2, *[1] * (len(rest) - 1), generator=generator)
        yield name, torch.randn(2, *rest, generator=generator), up


def originals(family):
    component = base_of(family).components[base_of(family).main]
    return {name: original.shape for name, original in component.layout.originals.items()}


def modules(family):
    return base_of(family).components[base_of(family).main].modules


def written(shapes, stem, endings, path):
    tensors = {}
    for name, down, up in pairs(shapes):
        tensors |= {f"{stem(name)}.{endings[0]}": down, f"{stem(name)}.{endings[1]}": up}
    save_file(tensors, path)
    return path


def assert_equal(adapter, expected):
    assert [*adapter.components] == [*expected.components]
    assert adapter.equals(expected)


ORIGINAL = {
    "no prefix": (lambda name: name, A_B),
    "model.diffusion_model.": (lambda name: f"model.diffusion_model.{name}", A_B),
    "lora_unet__, as Wan-Fun": (lambda name: f"lora_unet__{flat(name)}", DOWN_UP),
    "an adapter's name, as DiffSynth": (lambda name: name, ("lora_A.default.weight", "lora_B.default.weight")),
    "no .weight, as Mochi": (lambda name: name, ("lora_A", "lora_B")),
}
CANONICAL = {
    "lora_transformer_, as OneTrainer": (lambda name: f"lora_transformer_{flat(name)}", DOWN_UP),
    "lycoris_, as SimpleTuner": (lambda name: f"lycoris_{flat(name)}", DOWN_UP),
    "diffusion_model. before diffusers' names, as ai-toolkit": (lambda name: f"diffusion_model.{name}", A_B),
    "lora.down": (lambda name: f"transformer.{name}", ("lora.down.weight", "lora.up.weight")),
    "no prefix": (lambda name: name, A_B),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["flux", "wan", "z_image", "mochi", "hidream", "qwen_image"])
@pytest.mark.parametrize("dialect", ORIGINAL)
def test_original_names(dialect, family, tmp_path):
    stem, endings = ORIGINAL[dialect]
    expected = written(
        originals(family), lambda name: f"diffusion_model.{name}", A_B, tmp_path / "expected.safetensors"
    )
    path = written(originals(family), stem, endings, tmp_path / "x.safetensors")
    assert_equal(read(path, base_of(family)), read(expected, base_of(family)))


@pytest.mark.parametrize("family", ["flux", "wan", "z_image", "mochi", "ace_step"])
def test_peft_around_the_original_class(family, tmp_path):
    """A folder, whose config has the alpha; a file alone does not say its scale."""
    expected = written(
        originals(family), lambda name: f"diffusion_model.{name}", A_B, tmp_path / "expected.safetensors"
    )
    folder = tmp_path / "adapter"
    folder.mkdir()
    path = written(
        originals(family), lambda name: f"base_model.model.{name}", A_B, folder / "adapter_model.safetensors"
    )
    with pytest.raises(LoramergeError, match="without its adapter_config"):
        read(path, base_of(family))
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    assert_equal(read(folder, base_of(family)), read(expected, base_of(family)))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["flux", "wan", "z_image", "krea2", "ltx2"])
@pytest.mark.parametrize("dialect", CANONICAL)
def test_diffusers_names(dialect, family, tmp_path):
    stem, endings = CANONICAL[dialect]
    expected = written(modules(family), lambda name: f"transformer.{name}", A_B, tmp_path / "expected.safetensors")
    path = written(modules(family), stem, endings, tmp_path / "x.safetensors")
    assert_equal(read(path, base_of(family)), read(expected, base_of(family)))


def xlabs_shapes():
    """What XLabs' processors change, by their names: as wide as the layers of the original checkpoint."""
    known, held = originals("flux"), {}
    for block in (0, 1):
        for stream, number in (("img", 1), ("txt", 2)):
            for part in ("qkv", "proj"):
                shape = known[f"double_blocks.{block}.{stream}_attn.{part}"]
                held[f"double_blocks.{block}.processor.{part}_lora{number}"] = shape
        width = known[f"single_blocks.{block}.linear1"][1]
        held[f"single_blocks.{block}.processor.qkv_lora"] = (3 * width, width)
        held[f"single_blocks.{block}.processor.proj_lora"] = known[f"single_blocks.{block}.linear2"]
    return held


@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_processors_as_xlabs_has_them(prefix, tmp_path):
    """The same as diffusers makes of them, whose converter is right here."""
    path = written(xlabs_shapes(), lambda name: f"{prefix}{name}", ("down.weight", "up.weight"),
                   tmp_path / "x.safetensors")  # fmt: skip
    converted = lora_conversion_utils._convert_xlabs_flux_lora_to_diffusers(load_file(path))
    save_file({key: tensor.clone() for key, tensor in converted.items()}, tmp_path / "expected.safetensors")
    found = read(path, base_of("flux"))
    assert_equal(found, read(tmp_path / "expected.safetensors", base_of("flux")))
    assert "single_transformer_blocks.0.attn.to_v" in found.components["transformer"]
    assert "single_transformer_blocks.0.proj_mlp" not in found.components["transformer"]


def test_a_processor_of_another_size_is_shown_with_both_shapes(tmp_path):
    shapes = {"single_blocks.0.processor.qkv_lora": originals("flux")["single_blocks.0.linear1"]}
    path = written(shapes, str, ("down.weight", "up.weight"), tmp_path / "x.safetensors")
    out, width = next(iter(shapes.values()))
    said = f"processor.qkv_lora is {out}×{width}, the base has {3 * width}×{width}"
    with pytest.raises(LoramergeError, match=said):
        fit("x", read(path, base_of("flux")), base_of("flux"), skip=False)


@functools.cache
def minimax():
    """With heads as wide as those of the published model, which diffusers takes for granted."""
    row = next(row for row in ROWS if row.family == "minimax_h3")
    return from_configs("tiny", {"transformer": {**config_of(row), "attention_head_dim": 128}})


@pytest.mark.parametrize("endings", [A_B, ("lora_A.default.weight", "lora_B.default.weight")])
def test_diffsynth_has_queries_keys_and_values_by_turns_for_each_head(endings, tmp_path):
    """Its files of MiniMax-H3 keep the adapter's name; others mean rows one after the other by the same names."""
    shapes = {name: original.shape for name, original in minimax().components["transformer"].layout.originals.items()}
    path = written(shapes, str, endings, tmp_path / "x.safetensors")
    converted = lora_conversion_utils._convert_non_diffusers_minimax_h3_lora_to_diffusers(load_file(path))
    save_file({key: tensor.clone() for key, tensor in converted.items()}, tmp_path / "expected.safetensors")
    assert_equal(read(path, minimax()), read(tmp_path / "expected.safetensors", minimax()))


def test_turns_are_the_same_deltas(tmp_path):
    """Against the definition in float64: head by head, rows of queries, then of keys, then of values."""
    name, width, heads = "blocks.1.attn.qkv_proj", 128, 2
    shape = minimax().components["transformer"].layout.originals[name].shape
    path = written({name: shape}, str, ("lora_A.default.weight", "lora_B.default.weight"), tmp_path / "x.safetensors")
    ((_, down, up),) = pairs({name: shape})
    delta = (up.double() @ down.double()).reshape(heads, 3, width, -1)
    found = read(path, minimax()).components["transformer"]
    for number, part in enumerate(("to_q", "to_k", "to_v")):
        pair = found[f"transformer_blocks.1.attn.{part}"]
        assert pair.rank == 2
        assert torch.allclose(pair.delta(), delta[:, number].flatten(0, 1), rtol=1e-12, atol=0)


def test_ace_step_without_the_decoder(tmp_path):
    shapes = {name: shape for name, shape in originals("ace_step").items() if name.startswith("decoder.layers")}
    expected = written(shapes, lambda name: f"diffusion_model.{name}", A_B, tmp_path / "expected.safetensors")
    path = written(shapes, lambda name: name.removeprefix("decoder."), A_B, tmp_path / "x.safetensors")
    assert_equal(read(path, base_of("ace_step")), read(expected, base_of("ace_step")))


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("double_blocks.0.img_attn.qkv.lora_B.bias", "a control LoRA of Black Forest Labs"),
        ("img_in.lora_B.bias", "a control LoRA of Black Forest Labs"),
        ("transformer.transformer_blocks.0.attn.to_q.lora_B.bias", "a LoRA with biases"),
        ("double_blocks.0.img_attn.norm.query_norm.scale", "1 key that no part of a LoRA explains"),
        ("diffusion_model.double_blocks.0.img_mlp.0.set_weight", "weights that take the place of the base's own"),
        ("single_blocks.0.processor.qkv_lora.alpha.weight", "1 key that no part of a LoRA explains"),
        ("_aux.step", "1 key that no part of a LoRA explains"),
    ],
)
def test_what_is_no_plain_lora_is_refused_by_name(key, said, tmp_path):
    path = written({"img_in": originals("flux")["img_in"]}, lambda name: f"diffusion_model.{name}", A_B,
                   tmp_path / "x.safetensors")  # fmt: skip
    save_file(load_file(path) | {key: torch.ones(2)}, path)
    with pytest.raises(LoramergeError, match=said):
        read(path, base_of("flux"))
