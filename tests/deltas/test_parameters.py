"""Differences of norms, biases and tables: every family and spelling, LyCORIS' and ComfyUI's rules as witnesses."""

from __future__ import annotations

import contextlib
import re

import pytest
import torch
from canonical import base_of, deltas_of, read
from families.models import in_original_names, layout_of
from families.rows import ROWS
from families.test_formats import base_of as family_base
from families.test_formats import component_of, label
from safetensors.torch import load_file, save_file

from loramerge.bases.candidates import candidates
from loramerge.bases.fit import fit
from loramerge.bases.published import architecture
from loramerge.errors import LoramergeError, MismatchError, SourceError
from loramerge.families import FAMILIES
from loramerge.families.sizes import others_of
from loramerge.formats import ComfyuiOutput, KohyaOutput, Labels
from loramerge.formats.told_family import ToldFamily

NORM, LINEAR = "down_blocks.0.resnets.0.norm1", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
FLAT = {name: f"lora_unet_{name.replace('.', '_')}" for name in (NORM, LINEAR)}
TO_Q = FLAT[LINEAR].replace("to_out_0", "to_q")
NAMED = [row for row in ROWS if FAMILIES[row.family].has_original_names]


def noise(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def differences(row):
    """A number for every one of a tiny model's parameters beside the weights of its layers, by its key."""
    component = family_base(row).components[component_of(row)]
    generator = torch.Generator().manual_seed(1)
    return {key: torch.randn(shape, generator=generator) for key, shape in component.others.items()}


def spelled(name):
    """As ComfyUI's comfy/lora.py has it."""
    if name.endswith(".bias"):
        return f"{name.removesuffix('.bias')}.diff_b"
    # Its supported_models.py has taken `_norm.scale` of Flux and HunyuanVideo for `_norm.weight`.
    return f"{re.sub('_norm[.]scale$', '_norm.weight', name).removesuffix('.weight')}.diff"


def saved(tensors, path):
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


def originals(row, deltas, prefix="diffusion_model."):
    """The same in the names of the original checkpoint, by the tests' own code."""
    component = family_base(row).components[component_of(row)]
    whole = {component.parameter(key): delta for key, delta in deltas.items()}
    layers = {f"{module}.weight": torch.zeros(shape) for module, shape in component.modules.items()}
    layout = layout_of(row, dict(component.parameters))
    found = in_original_names(layout, whole | layers)
    held = {part.canonical: original.name for original in layout.originals.values() for part in original.parts}
    names = {held[name] for name in whole}
    return {f"{prefix}{spelled(name)}": found[name] for name in names}


@pytest.mark.parametrize("row", NAMED, ids=label)
def test_original_names_are_rows_of_the_parameters(row, tmp_path):
    deltas, base = differences(row), family_base(row)
    adapter, left = fit("x", read(saved(originals(row, deltas), tmp_path / "x.safetensors"), base), base, skip=False)
    assert not left
    found = deltas_of(adapter)[component_of(row)]
    assert found.keys() == deltas.keys()
    assert [key for key in deltas if not found[key].equal(deltas[key].double())] == []
    assert {pair.kind for *_, pair in adapter} == {"parameter difference"}


@pytest.mark.slow
@pytest.mark.parametrize("row", NAMED, ids=label)
def test_there_and_back_is_the_same_file(row, tmp_path):
    base = family_base(row)
    layout = base.components[component_of(row)].comfyui_layout
    tensors = originals(row, differences(row))
    adapter = fit("x", read(saved(tensors, tmp_path / "x.safetensors"), base), base, skip=False)[0]
    (name,) = ComfyuiOutput(kind="adapter", format="comfyui").write_adapter(adapter, base, Labels("out"), tmp_path)
    after = load_file(tmp_path / name)
    if layout is base.components[component_of(row)].layout:
        assert after.keys() == tensors.keys()
        assert [key for key in tensors if not after[key].equal(tensors[key])] == []
    back = fit("x", read(tmp_path / name, base), base, skip=False)[0]
    assert back.equals(adapter)


@pytest.mark.slow
@pytest.mark.parametrize("row", NAMED, ids=label)
def test_kohya_holds_what_is_a_weight_or_a_bias(row, tmp_path):
    base = family_base(row)
    adapter = fit("x", read(saved(originals(row, differences(row)), tmp_path / "x.safetensors"), base), base,
                  skip=False)[0]  # fmt: skip
    output = KohyaOutput(kind="adapter", format="kohya")
    held = {}
    for key, pair in adapter.components[component_of(row)].items():
        part = type(adapter)({component_of(row): {key: pair}})
        with contextlib.suppress(MismatchError):
            output.check_parameters("x", part, base)
            held[key] = pair
    if not held:
        pytest.skip("the original checkpoint has no biases, and calls the weights of norms otherwise")
    (name,) = output.write_adapter(type(adapter)({component_of(row): held}), base, Labels("out"), tmp_path)
    endings = {key.rpartition(".")[2] for key in load_file(tmp_path / name)}
    assert endings <= {"w_norm", "b_norm", "diff", "diff_b"}
    back = deltas_of(fit("x", read(tmp_path / name, base), base, skip=False)[0])[component_of(row)]
    assert held.keys() <= back.keys()
    assert [key for key in back if not back[key].equal(held[key].delta() if key in held else back[key] * 0)] == []


def sd15(tensors, path):
    base = base_of("sd15")
    return fit("x", read(saved(tensors, path), base), base, skip=False)[0]


SPELLINGS = {
    "LyCORIS": {f"{FLAT[NORM]}.w_norm": NORM, f"{FLAT[NORM]}.b_norm": f"{NORM}.bias",
                f"{FLAT[LINEAR]}.diff_b": f"{LINEAR}.bias"},
    "LyCORIS, around any component": {f"{FLAT[NORM].replace('lora_unet', 'lycoris')}.w_norm": NORM},
    "kohya": {f"{FLAT[NORM]}.diff": NORM, f"{FLAT[NORM]}.diff_b": f"{NORM}.bias"},
    "diffusers' names": {f"unet.{NORM}.diff": NORM, f"unet.{LINEAR}.diff_b": f"{LINEAR}.bias"},
    "a whole name": {f"unet.{LINEAR}.bias.diff": f"{LINEAR}.bias"},
    "ComfyUI": {"diffusion_model.input_blocks.1.0.in_layers.0.diff": NORM,
                "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_out.0.diff_b": f"{LINEAR}.bias"},
    "checkpoints": {"model.diffusion_model.input_blocks.1.0.in_layers.0.diff": NORM},
    "text encoders": {"lora_te_text_model_final_layer_norm.w_norm": "text_model.final_layer_norm",
                      "lora_te_text_model_encoder_layers_0_mlp_fc1.diff_b": "text_model.encoder.layers.0.mlp.fc1.bias"},
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_the_same_parameter(spelling, tmp_path):
    keys = SPELLINGS[spelling]
    component = "text_encoder" if spelling == "text encoders" else "unet"
    shapes = base_of("sd15").components[component].others
    tensors = {key: noise(shapes[place], seed) for seed, (key, place) in enumerate(keys.items())}
    found = deltas_of(sd15(tensors, tmp_path / "x.safetensors"))
    assert found.keys() == {component}
    assert found[component].keys() == {*keys.values()}
    assert all(found[component][place].equal(tensors[key].double()) for key, place in keys.items())


def test_flux_calls_the_weight_of_a_norm_scale(tmp_path):
    """As its checkpoint has it, and as ComfyUI has had it since."""
    base = next(family_base(row) for row in ROWS if row.family == "flux")
    shape = base.components["transformer"].others["transformer_blocks.0.attn.norm_q"]
    for key in ("query_norm.scale.diff", "query_norm.diff"):
        path = saved({f"diffusion_model.double_blocks.0.img_attn.norm.{key}": noise(shape)}, tmp_path / "x.safetensors")
        adapter = fit("x", read(path, base), base, skip=False)[0]
        assert [*adapter.components["transformer"]] == ["transformer_blocks.0.attn.norm_q"]


def test_an_alpha_counts_for_nothing(tmp_path):
    shape = base_of("sd15").components["unet"].others[NORM]
    tensors = {f"{FLAT[NORM]}.w_norm": noise(shape), f"{FLAT[NORM]}.alpha": torch.tensor(0.25)}
    ((_, _, pair),) = sd15(tensors, tmp_path / "x.safetensors")
    assert pair.delta().equal(noise(shape).double())


def test_lycoris_reads_what_is_written(tmp_path):
    """Its NormModule, built of the keys that are written, gives the parameters that the formula says."""
    from lycoris.modules.norms import NormModule

    base = base_of("sd15")
    shape = base.components["unet"].others[NORM]
    adapter = sd15({f"unet.{NORM}.diff_b": noise(shape)}, tmp_path / "x.safetensors")
    (name,) = KohyaOutput(kind="adapter", format="kohya").write_adapter(adapter, base, Labels("out"), tmp_path)
    written = load_file(tmp_path / name)
    assert written.keys() == {f"{FLAT[NORM]}.w_norm", f"{FLAT[NORM]}.b_norm"}
    norm = torch.nn.GroupNorm(1, shape[0])
    with torch.no_grad():
        halves = (written[f"{FLAT[NORM]}.{half}"] for half in ("w_norm", "b_norm"))
        module = NormModule.make_module_from_state_dict("x", norm, *halves)
        weight, bias = module.get_merged_weight()
    assert weight.equal(norm.weight)
    assert bias.equal(norm.bias + noise(shape))


BAD = {
    "twice": ({f"{FLAT[NORM]}.w_norm": (8,), f"{FLAT[NORM]}.diff": (8,)}, "are the same tensor under two names"),
    "another shape": ({f"{FLAT[NORM]}.w_norm": (7,)}, rf"unet.{NORM} is 7, the base has \d+"),
    "two axes": ({f"{FLAT[NORM]}.w_norm": (8, 1)}, rf"unet.{NORM} is 8×1, the base has \d+"),
    "a layer as a norm": ({f"{TO_Q}.w_norm": (8,)}, r"unet.\S+to_q is 8, the base has \d+×\d+"),
    "no such bias": ({f"{TO_Q}.diff_b": (8,)}, "the base has no such parameter"),
    "no such norm": ({f"{FLAT[NORM].replace('s_0_', 's_7_')}.w_norm": (8,)}, "the base has no such parameter"),
    "a single number": ({f"{FLAT[NORM]}.w_norm": ()}, "a single number without an axis"),
    "a pair for a norm": ({f"{FLAT[NORM]}.lora_up.weight": (8, 2), f"{FLAT[NORM]}.lora_down.weight": (2, 1)},
                          "the base has no such module"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_place_is_said(case, tmp_path):
    shapes, said = BAD[case]
    beside = {f"{FLAT[LINEAR]}.lora_up.weight": (8, 2), f"{FLAT[LINEAR]}.lora_down.weight": (2, 8)}
    width = base_of("sd15").components["unet"].modules[LINEAR][0]
    beside = {key: tuple(width if size == 8 else size for size in shape) for key, shape in beside.items()}
    with pytest.raises(LoramergeError, match=said):
        sd15({key: torch.ones(shape) for key, shape in (beside | shapes).items()}, tmp_path / "x.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(value, tmp_path):
    shape = base_of("sd15").components["unet"].others[NORM]
    with pytest.raises(SourceError, match="w_norm holds NaN or infinite values"):
        sd15({f"{FLAT[NORM]}.w_norm": torch.full(shape, value)}, tmp_path / "x.safetensors")


def test_weights_that_replace_are_refused_by_name(tmp_path):
    with pytest.raises(SourceError, match=r"take the place of the base's own \(set_weight\)") as refused:
        sd15({f"{FLAT[NORM]}.set_weight": torch.ones(8)}, tmp_path / "x.safetensors")
    assert ".diff" in refused.value.hint


LIGHTX2V = {
    "blocks.0.cross_attn.norm_k.diff": ("blocks.0.attn2.norm_k", (1536,)),
    "blocks.0.cross_attn.k.diff_b": ("blocks.0.attn2.to_k.bias", (1536,)),
    "blocks.29.norm3.diff": ("blocks.29.norm2", (1536,)),
    "blocks.29.norm3.diff_b": ("blocks.29.norm2.bias", (1536,)),
    "blocks.3.modulation.diff": ("blocks.3.scale_shift_table", (1, 6, 1536)),
    "blocks.4.diff_m": ("blocks.4.scale_shift_table", (1, 6, 1536)),
    "head.diff_m": ("scale_shift_table", (1, 2, 1536)),
    "patch_embedding.diff_b": ("patch_embedding.bias", (1536,)),
}
"""Keys of the distilled LoRAs of Wan that everybody loads, in the sizes of the model with 1.3 billion parameters."""


def lightx2v(path):
    tensors = {f"diffusion_model.{key}": noise(shape) for key, (_, shape) in LIGHTX2V.items()}
    tensors |= {f"diffusion_model.blocks.{number}.self_attn.{layer}.lora_{half}.weight": noise(shape)
                for number in range(3) for layer in "qkvo"
                for half, shape in (("down", (2, 1536)), ("up", (1536, 2)))}  # fmt: skip
    return saved(tensors, path)


def test_a_published_family_knows_its_parameters(tmp_path):
    path = lightx2v(tmp_path / "x.safetensors")
    told = ToldFamily.of("x", tmp_path, [path.name])
    assert "wan/1.3b" in told.families
    base = architecture("wan/1.3b")
    found = fit("x", read(path, base), base, skip=False)[0].components["transformer"]
    assert {key for key, pair in found.items() if not pair.is_layer} == {key for key, _ in LIGHTX2V.values()}


def test_parameters_are_read_where_a_lora_has_some(tmp_path):
    """Neither a plain LoRA nor telling families apart reads the second file of a family."""
    others_of.cache_clear()
    architecture.cache_clear()
    path = saved({f"diffusion_model.blocks.0.self_attn.q.lora_{half}.weight": noise(shape)
                  for half, shape in (("A", (2, 1536)), ("B", (1536, 2)))}, tmp_path / "x.safetensors")  # fmt: skip
    ToldFamily.of("x", tmp_path, [path.name])
    base = architecture("wan/1.3b")
    fit("x", read(path, base), base, skip=False)
    assert others_of.cache_info().currsize == 0
    assert candidates([]) == ()


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_no_parameter_has_the_flat_name_of_a_layer(row):
    component = family_base(row).components[component_of(row)]
    assert component.spelled.keys() & component.spelled_others.keys() == set()
    assert len({re.sub(r"\.", "_", key) for key in component.others}) == len(component.others)
