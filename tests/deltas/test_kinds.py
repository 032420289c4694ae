"""Every dialect of every kind of adapter against its defining formula in float64, and against LyCORIS' own code."""

from __future__ import annotations

import pytest
import torch
from canonical import base_of, deltas_of, read
from deltas.lycoris import CONVOLUTIONS, DIALECTS, Random, lokr
from safetensors.torch import save_file
from truth import relative_error

from loramerge.bases.fit import fit
from loramerge.deltas import KINDS, shape_of
from loramerge.errors import ExitCode, LoramergeError, SourceError
from loramerge.formats.spelling import spelled

LINEAR = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
FLAT = {"proj_in": "down_blocks.0.attentions.0.proj_in", "conv": "down_blocks.0.resnets.0.conv1"}
ALPHA = 1.5


def shapes():
    modules = base_of("sd15").components["unet"].modules
    return {name: modules[name] for name in (LINEAR, *FLAT.values())}


def written(path, made, *, alpha=ALPHA):
    """A file of LyCORIS' names, in which every module has an alpha."""
    tensors = {}
    for name, each in made.items():
        stem = f"lora_unet_{name.replace('.', '_')}"
        tensors |= {f"{stem}.{ending}": tensor.contiguous() for ending, tensor in each.tensors.items()}
        tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path)
    return path


def expected(made, alpha=ALPHA):
    return {"unet": {name: each.delta * (alpha / each.rank if each.rank else 1.0) for name, each in made.items()}}


def fitted(path, family="sd15"):
    base = base_of(family)
    return fit("x", read(path, base), base, skip=False)[0]


@pytest.mark.parametrize("dialect", [*DIALECTS, *CONVOLUTIONS])
def test_a_delta_is_that_of_its_formula(dialect, tmp_path):
    make, noise = (DIALECTS | CONVOLUTIONS)[dialect], Random(1)
    chosen = shapes() if dialect in DIALECTS else {FLAT["conv"]: shapes()[FLAT["conv"]]}
    made = {name: make(shape, noise) for name, shape in chosen.items()}
    adapter = fitted(written(tmp_path / "x.safetensors", made))
    assert relative_error(deltas_of(adapter), expected(made)) <= 1e-6
    for _, name, pair in adapter:
        assert pair.shape == chosen[name]
        assert pair.times(2.0).delta().equal(pair.delta() * 2)
        assert relative_error({name: pair.loaded().delta()}, {name: pair.delta()}) == 0
        assert pair.trained_rank == (made[name].rank or pair.rank)


@pytest.mark.parametrize("dialect", [*DIALECTS, *CONVOLUTIONS])
def test_lycoris_merges_the_same(dialect):
    """Its own functions, which get the tensors as its modules keep them."""
    from lycoris.functional import locon, loha
    from lycoris.functional import lokr as kronecker

    shape = shapes()[FLAT["conv"]]
    made = (DIALECTS | CONVOLUTIONS)[dialect](shape, Random(2))
    own = made.tensors
    if "hada_w1_a" in own:
        order = ("hada_w1_b", "hada_w1_a", "hada_w2_b", "hada_w2_a", "hada_t1", "hada_t2")
        theirs = loha.diff_weight(*(own.get(role) for role in order))
    elif any(role.startswith("lokr") for role in own):
        order = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
        theirs = kronecker.kron_weight(*(own.get(role) for role in order))
    elif "diff" in own:
        pytest.skip("LyCORIS adds a full difference as it is")
    else:
        order = ("lora_down.weight", "lora_up.weight", "lora_mid.weight")
        theirs = locon.diff_weight(*(own.get(role) for role in order))
    assert relative_error({"x": theirs.reshape(shape)}, {"x": made.delta}) <= 1e-6


def test_rows_of_a_fused_layer_are_those_of_its_parts(tmp_path):
    """One LoHa, LoKr or difference of a whole `qkv`."""
    from formats.test_dialects import base_of as family_base
    from formats.test_dialects import originals

    base, name = family_base("flux"), "double_blocks.0.img_attn.qkv"
    shape = originals("flux")[name]
    for dialect, make in DIALECTS.items():
        made = make(shape, Random(3))
        path = tmp_path / f"{len(dialect)}.safetensors"
        save_file({f"diffusion_model.{name}.{end}": tensor.contiguous() for end, tensor in made.tensors.items()}, path)
        adapter, _ = fit("x", read(path, base), base, skip=False)
        parts = [adapter.components["transformer"][f"transformer_blocks.0.attn.to_{part}"] for part in "qkv"]
        assert relative_error({"x": torch.cat([pair.delta() for pair in parts])}, {"x": made.delta}) <= 1e-6, dialect


def test_alpha_counts_where_something_is_factored(tmp_path):
    """ai-toolkit writes huge alphas into LoKrs that are whole."""
    shape = shapes()[LINEAR]
    for one, two, alpha in (("whole", "whole", 9999999999.0), ("whole", "factored", 4.0)):
        made = {LINEAR: lokr(one, two)(shape, Random(4))}
        path = written(tmp_path / "x.safetensors", made, alpha=alpha)
        assert relative_error(deltas_of(fitted(path)), expected(made, alpha)) <= 1e-6


def test_factors_are_kept_where_they_are_smaller_than_the_delta(tmp_path):
    shape = shapes()[LINEAR]
    noise = Random(5)
    made = {LINEAR: DIALECTS["LoHa"](shape, noise)}
    ((_, _, pair),) = fitted(written(tmp_path / "a.safetensors", made))
    assert (pair.is_dense, pair.rank, pair.kind) == (False, 4, "LoHa")
    from deltas.lycoris import loha

    made = {LINEAR: loha(shape, noise, rank=1 + int(min(shape) ** 0.5))}
    ((_, _, pair),) = fitted(written(tmp_path / "b.safetensors", made))
    assert (pair.is_dense, pair.rank, pair.kind) == (True, min(shape), "LoHa")
    assert relative_error(deltas_of(fitted(tmp_path / "b.safetensors")), expected(made)) <= 1e-6


BAD = {
    "hada_w1_a": ({"hada_w1_a": (8, 2)}, "has no hada_w1_b: the LoHa is incomplete"),
    "one core": ({"hada_w1_a": (2, 8), "hada_w1_b": (2, 8), "hada_w2_a": (2, 8), "hada_w2_b": (2, 8),
                  "hada_t1": (2, 2, 3, 3)}, "has no hada_t2"),
    "sides differ": ({"hada_w1_a": (8, 2), "hada_w1_b": (2, 8), "hada_w2_a": (8, 2), "hada_w2_b": (2, 9)},
                     r"hada_w2_b \[2, 9\] differ in shape"),
    "ranks differ": ({"hada_w1_a": (8, 3), "hada_w1_b": (2, 8), "hada_w2_a": (8, 2), "hada_w2_b": (2, 8)},
                     r"hada_w1_a \[8, 3\] and .*hada_w1_b \[2, 8\] are no pair"),
    "half a LoKr": ({"lokr_w1": (2, 2)}, "has no lokr_w2: the LoKr is incomplete"),
    "half a factor": ({"lokr_w1": (2, 2), "lokr_w2_b": (2, 4)}, "has no lokr_w2_a"),
    "twice": ({"lokr_w1": (2, 2), "lokr_w2": (4, 4), "lokr_w2_a": (4, 1), "lokr_w2_b": (1, 4)}, "say the same twice"),
    "a kernel in front": ({"lokr_w1": (2, 2, 3, 3), "lokr_w2": (4, 4)}, "should be a matrix"),
    "a core too much": ({"lokr_w1": (2, 2), "lokr_w2": (4, 4), "lokr_t2": (1, 1, 3, 3)}, "is whole, and"),
    "mid of another rank": ({"lora_down.weight": (2, 8, 1, 1), "lora_up.weight": (8, 2, 1, 1),
                             "lora_mid.weight": (3, 2, 3, 3)}, "mid should be rank×rank and a kernel"),
    "two kinds": ({"lora_down.weight": (2, 8), "lora_up.weight": (8, 2), "lokr_w1": (2, 2), "lokr_w2": (4, 4)},
                  r"several kinds of adapter: .*\(LoRA\) and .*\(LoKr\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_go_together_is_named(case, tmp_path):
    tensors, message = BAD[case]
    stem = f"lora_unet_{LINEAR.replace('.', '_')}"
    save_file({f"{stem}.{end}": torch.ones(shape) for end, shape in tensors.items()}, tmp_path / "x.safetensors")
    with pytest.raises(LoramergeError, match=message) as caught:
        read(tmp_path / "x.safetensors", base_of("sd15"))
    lacks = "has no" in message or "several" in message
    assert caught.value.exit_code == (ExitCode.BAD_SOURCE if lacks else ExitCode.MISMATCH)


def test_numbers_that_are_none_are_named(tmp_path):
    made = DIALECTS["LoHa"](shapes()[LINEAR], Random(6))
    made.tensors["hada_w2_a"][0, 0] = torch.nan
    path = written(tmp_path / "x.safetensors", {LINEAR: made})
    with pytest.raises(SourceError, match="hada_w2_a holds NaN"):
        read(path, base_of("sd15"))


def test_every_role_is_spelled_by_some_key():
    roles = {role for kind in KINDS for role in kind.all_roles()} - {"parameter"}  # a `diff`, by what it is for
    endings = [f".{role}" for role in roles if "_" in role] + [".diff", ".lora_mid.weight", ".lora_up.weight"]
    found = {spelled(f"lora_unet_x{ending}").role for ending in (*endings, ".lora_down.weight")}
    assert found == roles
    assert shape_of({"lokr_w1": (2, 2)}) is None
