"""LoRAs of several kinds in one merge: the sum is exact, and where an output can't hold it, that is said before."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from canonical import base_of, deltas_of
from command_line import invoke, write_recipe
from deltas.lycoris import DIALECTS, Random, full, loha, lora
from deltas.test_kinds import FLAT, LINEAR, expected, shapes, written
from safetensors.torch import load_file
from truth import relative_error, weighted_sum

from loramerge import load_adapter, read_recipe, run
from loramerge.errors import ExitCode

FACTORED = {"combination_type": "cat", "engine": "factored"}
KOHYA, COMFYUI, MODEL = ({"kind": "adapter", "format": "kohya"}, {"kind": "adapter", "format": "comfyui"},
                         {"kind": "model"})  # fmt: skip
WEIGHTS = {"style": 0.7, "face": -1.2}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lycoris(folder, name, make, seed, places=None):
    """A file, and its deltas by the formula."""
    noise = Random(seed)
    made = {place: make(shape, noise) for place, shape in (places or shapes()).items()}
    written(folder / f"{name}.safetensors", made)
    return expected(made)


def recipe(folder, outputs, merge=FACTORED, loras=WEIGHTS, **more):
    sources = {name: {"source": f"{name}.safetensors", "weight": weight} for name, weight in loras.items()}
    return write_recipe(folder, base=tiny.folder("sd15"), loras=sources, outputs=list(outputs), merge=merge, **more)


def summed(deltas):
    return weighted_sum([(deltas[name], weight) for name, weight in WEIGHTS.items()])


def written_deltas(path):
    return deltas_of(load_adapter(path, base_of("sd15")))


@pytest.mark.parametrize("engine", ["factored", "peft"])
def test_kinds_with_factors_become_one_lora(here, engine):
    """LoHa and LoRA: every format holds their sum, and every engine forms it."""
    deltas = {"style": lycoris(here, "style", loha, 1), "face": lycoris(here, "face", lora, 2)}
    outputs = [KOHYA, COMFYUI, {"kind": "adapter", "format": "diffusers"}, {"kind": "adapter", "format": "peft"}]
    done = run(read_recipe(recipe(here, outputs, {"combination_type": "cat", "engine": engine})), device="cpu")
    assert {key: error for key, error in done.fidelity.items() if error > 1e-6} == {}
    for place in ("kohya/small.safetensors", "comfyui/small.safetensors", "diffusers", "peft"):
        assert relative_error(written_deltas(here / "dist" / "small" / place), summed(deltas)) <= 1e-6, place
    assert not [key for key in load_file(here / "dist/small/kohya/small.safetensors") if key.endswith(".diff")]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_any_kind_with_a_full_difference(here, dialect):
    deltas = {"style": lycoris(here, "style", DIALECTS[dialect], 3), "face": lycoris(here, "face", full, 4)}
    done = run(read_recipe(recipe(here, [KOHYA, COMFYUI, MODEL])), device="cpu")
    assert math.hypot(*done.fidelity.values()) <= 1e-6
    for place in ("kohya/small.safetensors", "comfyui/small.safetensors"):
        assert relative_error(written_deltas(here / "dist" / "small" / place), summed(deltas)) <= 1e-6, place
    before = load_file(tiny.folder("sd15") / "unet" / "diffusion_pytorch_model.safetensors")
    after = load_file(here / "dist/small/model/unet/diffusion_pytorch_model.safetensors")
    for name, delta in summed(deltas)["unet"].items():
        key = f"{name}.weight"
        assert relative_error({key: after[key].double()}, {key: before[key].double() + delta}) <= 1e-6


def test_a_merge_of_full_differences_is_built_again(here):
    lycoris(here, "style", DIALECTS["LoKr, whole and whole"], 3)
    lycoris(here, "face", full, 4)
    path = recipe(here, [KOHYA, MODEL])
    assert invoke("run", path).exit_code == ExitCode.DONE
    again = invoke("verify", here / "dist" / "small", "--rebuild", "--recipe", path)
    assert again.exit_code == ExitCode.DONE, again.output


def test_svd_takes_every_kind(here):
    deltas = {"style": lycoris(here, "style", loha, 5), "face": lycoris(here, "face", full, 6)}
    path = recipe(here, [{"kind": "adapter", "format": "diffusers"}],
                  {"combination_type": "svd", "svd_rank": 4, "engine": "factored"})  # fmt: skip
    run(read_recipe(path), device="cpu")
    found = written_deltas(here / "dist" / "small" / "diffusers")["unet"]
    for name, delta in summed(deltas)["unet"].items():
        left, values, right = torch.linalg.svd(delta.flatten(1), full_matrices=False)
        best = (left[:, :4] * values[:4] @ right[:4]).reshape(delta.shape)
        assert relative_error({name: found[name]}, {name: best}) <= 1e-5


@pytest.mark.parametrize("combination_type", ["ties_svd", "dare_linear_svd", "magnitude_prune_svd"])
def test_types_that_prune_deltas_take_a_full_difference(here, combination_type):
    lycoris(here, "style", lora, 7)
    lycoris(here, "face", full, 8)
    merge = {"combination_type": combination_type, "density": 0.5, "svd_rank": 4, "engine": "factored"}
    path = recipe(here, [{"kind": "adapter", "format": "peft"}], merge)
    done = run(read_recipe(path), device="cpu")
    assert all(pair.rank == 4 for *_, pair in done.merged)


REFUSED = {
    "PEFT's engine": ([KOHYA], {"combination_type": "cat"}, "takes LoRAs alone"),
    "factor by factor": ([KOHYA], {"combination_type": "linear", "engine": "factored"}, "combines up and down factors"),
    "no rank": ([KOHYA], {"combination_type": "svd", "engine": "factored"}, "no rank to take over"),
    "diffusers": ([{"kind": "adapter", "format": "diffusers"}], FACTORED, "the output diffusers can hold none"),
    "peft": ([{"kind": "adapter", "format": "peft"}], FACTORED, "the output peft can hold none"),
    "inputs": ([{"kind": "inputs"}], FACTORED, "the output inputs can hold none"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_t_hold_a_full_difference_is_refused_before_anything_is_merged(here, case):
    outputs, merge, message = REFUSED[case]
    lycoris(here, "style", lora, 9)
    lycoris(here, "face", full, 10)
    done = invoke("run", recipe(here, outputs, merge))
    said = " ".join(done.output.split())
    assert done.exit_code == ExitCode.MISMATCH, said
    assert message in said
    assert ("cut the merge to a rank" in said) is (case in {"diffusers", "peft"})
    assert f"LoRA face has 3 modules that no low-rank pair holds, first unet.{min(shapes())} (full difference)" in said
    assert not (here / "dist").exists()


def test_a_report_speaks_of_full_differences(here):
    lycoris(here, "style", full, 11)
    lycoris(here, "face", full, 12)
    done = run(read_recipe(recipe(here, [KOHYA], report="full")), device="cpu")
    (pair,) = done.report["overlap"]["pairs"]
    assert pair["modules"] == len(shapes())
    assert abs(pair["cosine"]) < 0.5


def test_inspect_says_what_lies_in_a_file(here):
    lycoris(here, "style", loha, 13)
    shown = invoke("inspect", here / "style.safetensors", "--base", tiny.folder("sd15"))
    assert shown.exit_code == ExitCode.DONE, shown.output
    assert "LoHa" in shown.output


def test_the_rank_of_a_recipe_is_the_trained_one(here):
    lycoris(here, "style", loha, 14, {LINEAR: shapes()[LINEAR]})
    lycoris(here, "face", lora, 15, {FLAT["conv"]: shapes()[FLAT["conv"]]})
    loras = {"style": {"source": "style.safetensors", "rank": 2}, "face": {"source": "face.safetensors", "rank": 3}}
    path = write_recipe(here, base=tiny.folder("sd15"), loras=loras, outputs=[KOHYA], merge=FACTORED)
    assert invoke("run", path).exit_code == ExitCode.DONE


def test_convert_says_that_factors_were_computed(here):
    deltas = lycoris(here, "style", loha, 16)
    done = invoke(
        "convert", "style.safetensors", "-o", "x.safetensors", "--format", "comfyui", "--base", tiny.folder("sd15")
    )
    assert done.exit_code == ExitCode.DONE, done.output
    assert "deltas within" in done.output
    assert relative_error(written_deltas(here / "x.safetensors"), deltas) <= 1e-6
