"""Weights of what is no UNet: by block, by kind of layer, and what of a mapping a base does not have."""

import json

import pytest
import torch
import yaml
from canonical import read
from command_line import invoke
from families.rows import ROWS
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from loramerge.adapter import Adapter, LowRank
from loramerge.bases.base import from_configs, read_base
from loramerge.bases.published import architecture
from loramerge.errors import ExitCode, MismatchError
from loramerge.merging.block_weights import unnamed, weighing
from loramerge.merging.ranges import numbers, runs

BLOCKS = 30  # of the small Wan
OUTSIDE = "condition_embedder.time_proj"


def module(block, layer="attn1.to_q"):
    return f"blocks.{block}.{layer}"


def weigh(given, base=None, component="transformer"):
    found = weighing("a", {component: given}, base or architecture("wan/1.3b"))
    return lambda name: found(component, name)


def lora(*names, component="transformer"):
    return Adapter({component: dict.fromkeys(names, LowRank(torch.ones(1, 2), torch.ones(2, 1), 1.0))})


def said(given, *names, base=None):
    return list(unnamed("a", {"transformer": given}, base or architecture("wan/1.3b"), lora(*names)))


def refused(given, base=None, component="transformer"):
    with pytest.raises(MismatchError) as caught:
        weigh(given, base, component)
    assert caught.value.exit_code == ExitCode.MISMATCH
    return caught.value


def flux_like():
    """Two lists of blocks of different lengths, whose names hold each other, as FLUX.1 has them."""
    config = {
        "_class_name": "FluxTransformer2DModel",
        "in_channels": 4,
        "num_layers": 3,
        "num_single_layers": 5,
        "attention_head_dim": 4,
        "num_attention_heads": 2,
        "joint_attention_dim": 8,
        "pooled_projection_dim": 8,
        "axes_dims_rope": (2, 1, 1),
    }
    return from_configs("flux", {"transformer": config})


NUMBERS = st.floats(-2, 2)


@given(st.lists(NUMBERS, min_size=BLOCKS, max_size=BLOCKS))
def test_a_list_gives_each_block_its_number(given):
    found = weigh({"blocks": given})
    assert [found(module(block)) for block in range(BLOCKS)] == given
    assert found(OUTSIDE) == 1


@given(st.dictionaries(st.integers(0, BLOCKS - 1), st.sampled_from([0.0, 0.25, 0.5, -1.0])), NUMBERS)
def test_ranges_give_each_block_its_number(by_block, other):
    given = {
        run: weight
        for weight in set(by_block.values())
        for run in runs(block for block, each in by_block.items() if each == weight)
    }
    found = weigh({"blocks": given, "other": other} if given else {"other": other})
    assert {block: found(module(block)) for block in range(BLOCKS)} == dict.fromkeys(range(BLOCKS), 1.0) | by_block
    assert found(OUTSIDE) == other


@given(st.sets(st.integers(0, 99), min_size=1))
def test_runs_are_the_same_numbers_in_as_few_ranges_as_there_are_gaps(chosen):
    found = runs(chosen)
    assert [number for run in found for number in numbers(run)] == sorted(chosen)
    assert len(found) == 1 + sum(number - 1 not in chosen for number in chosen - {min(chosen)})


def test_one_number_is_for_all_blocks_of_a_name():
    found = weigh({"single_transformer_blocks": 0.25}, flux_like())
    assert found("single_transformer_blocks.4.attn.to_q") == 0.25
    assert found("transformer_blocks.2.attn.to_q") == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (module(3), "attention"),
        (module(3, "attn2.to_out.0"), "attention"),
        (module(3, "ffn.net.0.proj"), "mlp"),
        (OUTSIDE, "other"),
        ("patch_embedding", "other"),
    ],
)
def test_kinds_of_layers(name, kind):
    given = {"attention": 0.1, "mlp": 0.2, "other": 0.3}
    assert weigh(given)(name) == given[kind]
    assert weigh({kind: 0.5})(name) == 0.5 if kind != "other" else weigh({"other": 0.5, "mlp": 1})(name) == 0.5


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("transformer_blocks.0.norm1.linear", "modulation"),
        ("transformer_blocks.0.norm1_context.linear", "modulation"),
        ("transformer_blocks.0.attn.add_q_proj", "attention"),
        ("transformer_blocks.0.ff_context.net.2", "mlp"),
        ("single_transformer_blocks.0.norm.linear", "modulation"),
        ("single_transformer_blocks.0.proj_mlp", "mlp"),
        ("single_transformer_blocks.0.proj_out", "mlp"),  # the family says so
        ("proj_out", "other"),
        ("norm_out.linear", "modulation"),
        ("x_embedder", "other"),
    ],
)
def test_kinds_of_layers_of_a_transformer_with_two_streams(name, kind):
    given = {"attention": 0.1, "mlp": 0.2, "modulation": 0.3, "other": 0.4}
    base = flux_like()
    assert name in base.components["transformer"].modules
    assert weigh(given, base)(name) == given[kind]


@pytest.mark.parametrize("component", ["transformer", "transformer_2"])
def test_two_denoisers_have_weights_of_their_own(component):
    found = weighing("a", {component: {"blocks": 0.5}}, architecture("wan/t2v-a14b"))
    for each in ("transformer", "transformer_2"):
        assert found(each, module(39)) == (0.5 if each == component else 1)


def test_a_text_encoder_has_blocks_as_well():
    found = weigh({"layers": {"0-10": 0.5}, "other": 0.25}, architecture("sd15"), "text_encoder")
    weights = [found(f"text_model.encoder.layers.{number}.mlp.fc1") for number in range(12)]
    assert weights == [0.5] * 11 + [1.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"blcks": 0.5},
            "weight.transformer.blcks: the base has no blocks of this name; it has `blocks` 0-29; did you mean 'blo",
        ),
        ({"down": 0.5}, "weight.transformer.down: the base has no blocks of this name; it has `blocks` 0-29"),
        ({"blocks": {"28-30": 1}}, "weight.transformer.blocks.28-30: the base has no 30 there; it has 0-29"),
        ({"blocks": {"31": 1}}, "weight.transformer.blocks.31: the base has no 31 there; it has 0-29"),
        ({"blocks": [1, 2]}, "weight.transformer.blocks has 2 weights; the base has 30 blocks there, 0-29"),
        ({"modulation": 1}, "weight.transformer.modulation: the base has no such layers; it has `attention`, `mlp`"),
        ({"blocks": {"0-3": 1, "3": 2}}, "weight.transformer.blocks.3: 3 is in '0-3' as well"),
        ({"blocks": 1, "mlp": 1}, "weight.transformer: names kinds of layers (`mlp`) and blocks (`blocks`)"),
    ],
)
def test_what_the_base_does_not_have_is_a_mismatch(given, message):
    assert f"LoRA a: {message}" in refused(given).message


def test_the_blocks_that_a_base_has_are_listed_in_its_order():
    assert (
        "it has `transformer_blocks` 0-2, `single_transformer_blocks` 0-4; did you mean 'single_transformer_blocks'"
        in (refused({"single_blocks": 1}, flux_like()).message)
    )


def test_the_mapping_of_a_unet_is_no_transformer_s_and_the_reverse():
    found = refused({"down": 0.5}, component="unet")
    assert found.message == "LoRA a: weight.unet: the base has no such component; it has transformer"
    assert found.hint == "weigh its blocks by weight.transformer: `blocks` 0-29"
    found = refused({"blocks": 0.5}, architecture("sd15"))
    assert found.message.startswith("LoRA a: weight.transformer: the base has no such component; it has unet, text_enc")
    assert found.hint == "weigh its blocks by weight.unet: down, mid, up and other"


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"blocks": 0.5}, "`transformer.other` (1 module: condition_embedder.time_proj)"),
        ({"other": 0.5}, "`transformer.blocks` (30 modules)"),
        (
            {"blocks": {"10": 0.5}, "other": 1},
            "`transformer.blocks.0-9` (10 modules) or `transformer.blocks.11-29` (19",
        ),
        ({"blocks": {"0-8": 0.5, "10-29": 1}, "other": 1}, "`transformer.blocks.9` (1 module)"),
        ({"mlp": 0.5}, "`transformer.attention` (30 modules) or `transformer.other` (1 module: condition_embedder"),
    ],
)
def test_every_key_that_is_left_out_is_said(given, names):
    (sentence,) = said(given, *map(module, range(BLOCKS)), OUTSIDE)
    assert f"its weight does not name {names}" in sentence


def test_nothing_is_said_where_all_is_named():
    assert said({"blocks": {"0-9": 0.5, "10-29": 1}, "other": 0}, *map(module, range(BLOCKS)), OUTSIDE) == []
    assert said({"attention": 1, "mlp": 0.5, "other": 0}, module(0), OUTSIDE) == []


@pytest.fixture
def wan(tmp_path):
    """A tiny Wan, and two LoRAs for all of its layers."""
    row = next(row for row in ROWS if row.family == "wan")
    folder = tmp_path / "wan"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"_class_name": "WanTransformer3DModel", **row.tiny}))
    shapes = read_base("wan", folder).components["transformer"].modules
    for seed, name in enumerate("ab"):
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for layer, shape in shapes.items():
            tensors[f"transformer.{layer}.lora_A.weight"] = torch.randn(2, *shape[1:], generator=generator)
            tensors[f"transformer.{layer}.lora_B.weight"] = torch.randn(
                shape[0], 2, *[1 for _ in shape[2:]], generator=generator
            )
        save_file(tensors, tmp_path / f"{name}.safetensors")
    return tmp_path


GIVEN = [
    ({"blocks": {"0": 0.3}, "other": -0.5}, {"blocks.0": 0.3, "blocks.1": 1.0, "": -0.5}),
    ({"blocks": [0.25, 0.0]}, {"blocks.0": 0.25, "blocks.1": 0.0, "": 1.0}),
    ({"attention": 0.5, "mlp": 2.0}, {".attn": 0.5, ".ffn.": 2.0, "": 1.0}),
]


@pytest.mark.parametrize(("given", "expected"), GIVEN)
def test_a_merge_is_the_weighted_sum_of_every_module(given, expected, wan):
    inline = yaml.safe_dump({"transformer": given}, default_flow_style=True, width=1000).strip()
    out = wan / "merged.safetensors"
    done = invoke(
        "merge", f"{wan / 'a.safetensors'}:{inline}", f"{wan / 'b.safetensors'}:0.7", "--base", wan / "wan", "-o", out
    )
    assert done.exit_code == 0, done.output
    base = read_base("wan", wan / "wan")
    merged, one, other = (
        read(wan / f"{name}.safetensors", base).components["transformer"] for name in ("merged", "a", "b")
    )
    assert set(merged) == set(base.components["transformer"].modules)
    for name, pair in merged.items():
        weight = next(number for part, number in expected.items() if part in name)
        wanted = weight * delta(one[name]) + 0.7 * delta(other[name])
        torch.testing.assert_close(delta(pair), wanted, rtol=1e-5, atol=1e-5)
    assert load_file(out)


def delta(pair):
    """In float64, all of a kernel in a row."""
    return pair.scale * pair.up.flatten(1).double() @ pair.down.flatten(1).double()


def test_a_name_that_the_base_lacks_ends_a_merge(wan):
    done = invoke(
        "merge",
        f"{wan / 'a.safetensors'}:{{transformer: {{block: 0.5}}}}",
        "--base",
        wan / "wan",
        "-o",
        wan / "m.safetensors",
    )
    assert done.exit_code == ExitCode.MISMATCH
    assert "did you mean 'blocks'?" in done.output
