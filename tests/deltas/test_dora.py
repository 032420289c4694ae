"""DoRA of PEFT and of LyCORIS, against the formula in float64, PEFT's own merge and LyCORIS' own function."""

from __future__ import annotations

import json

import pytest
import small_models
import tiny
import torch
from canonical import base_of, read
from command_line import invoke, write_recipe
from deltas.lycoris import Random, loha, lora
from deltas.test_kinds import FLAT, LINEAR, shapes, written
from safetensors.torch import load_file
from truth import relative_error

from loramerge import read_recipe, run
from loramerge.errors import ExitCode, MismatchError
from loramerge.stages.load_adapter import load_adapter

LLAMA = "LlamaForCausalLM"
WEIGHTS = {"style": 0.7, "face": -1.5}
UNET = "unet/diffusion_pytorch_model.safetensors"
FACTORED = {"combination_type": "cat", "engine": "factored"}
MODEL, KOHYA, PEFT = {"kind": "model"}, {"kind": "adapter", "format": "kohya"}, {"kind": "adapter", "format": "peft"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights():
    stored = load_file(tiny.folder("sd15") / UNET)
    return {name: stored[f"{name}.weight"].double() for name in shapes()}


def decomposed(weight, delta, magnitude, *, on_input):
    """m · (W + Δ) / ‖W + Δ‖ - W."""
    total = weight + delta
    axes = tuple(axis for axis in range(total.ndim) if axis != (1 if on_input else 0))
    return magnitude.double() * total / total.square().sum(axes, keepdim=True).sqrt() - weight


def dora(folder, name, seed, *, make=lora, on_input=False, places=None):
    """A file of LyCORIS' names, and its deltas by the formula."""
    noise, made, deltas = Random(seed), {}, {}
    for place, shape in (places or shapes()).items():
        module, weight = make(shape, noise), weights()[place]
        count = shape[1] if on_input else shape[0]
        axes = [1, count] if on_input else [count, 1]
        norms = weight.norm(dim=0 if on_input else 1) if weight.ndim == 2 else None
        magnitude = noise(*axes, *[1 for _ in shape[2:]]) * 0.5 + 1.0
        if norms is not None:
            magnitude = magnitude * norms.reshape(axes).float()
        delta = module.delta * 1.5 / module.rank
        deltas[place] = decomposed(weight, delta, magnitude, on_input=on_input)
        made[place] = type(module)({**module.tensors, "dora_scale": magnitude.contiguous()}, module.rank, module.delta)
    written(folder / f"{name}.safetensors", made)
    return deltas


def plain(folder, name, seed):
    noise = Random(seed)
    made = {place: lora(shape, noise) for place, shape in shapes().items()}
    written(folder / f"{name}.safetensors", made)
    return {place: each.delta * 1.5 / each.rank for place, each in made.items()}


def recipe(folder, outputs, doras=("style",), merge=FACTORED, **more):
    loras = {
        name: {"source": f"{name}.safetensors", "weight": weight, **({"dora": True} if name in doras else {})}
        for name, weight in WEIGHTS.items()
    }
    return write_recipe(folder, base=tiny.folder("sd15"), loras=loras, outputs=list(outputs), merge=merge, **more)


def summed(deltas):
    return {place: sum(weight * deltas[name][place] for name, weight in WEIGHTS.items()) for place in shapes()}


def fused_by(folder):
    after = load_file(folder / "dist/small/model" / UNET)
    return {name: after[f"{name}.weight"].double() for name in shapes()}


def wanted(deltas):
    return {name: weight + summed(deltas)[name] for name, weight in weights().items()}


@pytest.mark.parametrize("on_input", [False, True])
@pytest.mark.parametrize("make", [lora, loha])
def test_a_fused_dora_is_that_of_its_formula(here, on_input, make):
    deltas = {"style": dora(here, "style", 1, make=make, on_input=on_input), "face": plain(here, "face", 2)}
    done = run(read_recipe(recipe(here, [MODEL, KOHYA])), device="cpu")
    assert relative_error(fused_by(here), wanted(deltas)) <= 1e-6
    assert max(done.fidelity.values()) <= 1e-6
    base = base_of("sd15")
    found = {name: pair.delta() for _, name, pair in load_adapter(here / "dist/small/kohya/small.safetensors", base)}
    assert relative_error(found, summed(deltas)) <= 1e-6


def test_lycoris_decomposes_the_same():
    from lycoris.functional.general import weight_decompose

    noise, weight = Random(3), weights()[FLAT["conv"]]
    delta = noise(*weight.shape).double()
    for on_input, axes in ((False, (weight.shape[0], 1, 1, 1)), (True, (1, weight.shape[1], 1, 1))):
        magnitude = noise(*axes).double()
        theirs = weight_decompose(weight + delta, magnitude, wd_on_out=not on_input) - weight
        ours = decomposed(weight, delta, magnitude, on_input=on_input)
        assert relative_error({"x": theirs}, {"x": ours}) <= 1e-6


def test_doras_become_one_dora_of_pefts(here):
    """All modules are DoRAs then, also those that one LoRA alone touches."""
    style = {place: shape for place, shape in shapes().items() if place != LINEAR}
    deltas = {"style": dora(here, "style", 4, places=style), "face": plain(here, "face", 5)}
    deltas["style"][LINEAR] = torch.zeros(shapes()[LINEAR], dtype=torch.float64)
    run(read_recipe(recipe(here, [PEFT, {"kind": "inputs"}])), device="cpu")
    folder = here / "dist/small/peft/unet"
    assert json.loads((folder / "adapter_config.json").read_text())["use_dora"] is True
    assert relative_error(as_peft_loads(folder), wanted(deltas)) <= 1e-6
    alone = {name: weight + deltas["style"][name] for name, weight in weights().items() if name != LINEAR}
    assert relative_error(as_peft_loads(here / "dist/small/inputs/style", style), alone) <= 1e-6
    assert not json.loads((here / "dist/small/inputs/face/adapter_config.json").read_text())["use_dora"]


def as_peft_loads(folder, places=None):
    from diffusers import UNet2DConditionModel
    from peft import PeftModel

    unet = UNet2DConditionModel.from_pretrained(tiny.folder("sd15") / "unet").double()
    model = PeftModel.from_pretrained(unet, folder, autocast_adapter_dtype=False).double().merge_and_unload()
    return {name: model.get_submodule(name).weight.detach() for name in places or shapes()}


@pytest.mark.parametrize("count", [1, 2])
def test_pefts_own_doras(here, count):
    """Trained on a language model: what PEFT merges of the result is the sum of what it merges of each."""
    base = small_models.save(LLAMA, here / "base", weights=True)
    names = list(WEIGHTS)[:count]
    for seed, name in enumerate(names):
        small_models.lora(LLAMA, here / name, seed=seed, use_dora=True, use_rslora=bool(seed), change=change(seed))
    loras = {name: {"source": name, "weight": WEIGHTS[name], "dora": True} for name in names}
    run(read_recipe(write_recipe(here, base=base.name, loras=loras, outputs=[PEFT], merge=FACTORED)), device="cpu")
    parts = {name: small_models.deltas(LLAMA, here / name) for name in names}
    merged = small_models.weights_with(LLAMA, here / "dist/small/peft")
    before = small_models._doubles(LLAMA)
    expected = {key: before[key] + sum(WEIGHTS[name] * parts[name][key] for name in names) for key in before}
    assert any(delta.any() for delta in parts[names[0]].values())
    assert relative_error(merged, expected) <= 1e-6


def change(seed):
    def magnitudes(model):
        generator = torch.Generator().manual_seed(seed + 10)
        for name, parameter in model.named_parameters():
            if "magnitude" in name:
                parameter.data *= 1 + 0.3 * torch.randn(parameter.shape, generator=generator)

    return magnitudes


def test_svd_makes_a_lora_of_doras(here):
    deltas = {"style": dora(here, "style", 6), "face": dora(here, "face", 7)}
    outputs = [{"kind": "adapter", "format": "diffusers"}]
    merge = {"combination_type": "svd", "svd_rank": 4, "engine": "factored"}
    run(read_recipe(recipe(here, outputs, ("style", "face"), merge)), device="cpu")
    for _, name, pair in load_adapter(here / "dist/small/diffusers", base_of("sd15")):
        delta = summed(deltas)[name].flatten(1)
        left, values, right = torch.linalg.svd(delta, full_matrices=False)
        best = (left[:, :4] * values[:4] @ right[:4]).reshape(pair.shape)
        assert relative_error({name: pair.delta()}, {name: best}) <= 1e-5


REFUSED = {
    "not said": ([MODEL], (), FACTORED, "add `dora: true` to the LoRA in the recipe"),
    "of one that is none": ([MODEL], ("style", "face"), FACTORED, "LoRA face is no DoRA"),
    "diffusers": ([{"kind": "adapter", "format": "diffusers"}], ("style",), FACTORED, "diffusers can hold none"),
    "PEFT's engine": ([MODEL], ("style",), {"combination_type": "cat"}, "takes LoRAs alone"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_merged(here, case):
    outputs, doras, merge, message = REFUSED[case]
    dora(here, "style", 8)
    plain(here, "face", 9)
    done = invoke("run", recipe(here, outputs, doras, merge))
    said = " ".join(done.output.split())
    assert done.exit_code == ExitCode.MISMATCH, said
    assert message in said
    assert not (here / "dist").exists()


def test_norms_of_inputs_are_no_dora_of_pefts(here):
    dora(here, "style", 10, on_input=True)
    plain(here, "face", 11)
    with pytest.raises(MismatchError, match=r"the output peft can hold none"):
        run(read_recipe(recipe(here, [PEFT])), device="cpu")


def test_a_family_has_no_weights(here):
    dora(here, "style", 12)
    path = write_recipe(here, base="x", loras={"style": {"source": "style.safetensors", "dora": True}}, outputs=[KOHYA])
    path.write_text(path.read_text().replace("source: x\n", "family: sd15\n"))
    done = invoke("validate", path)
    assert done.exit_code == ExitCode.INVALID_RECIPE
    assert "loras.0.dora: what a DoRA adds depends on the base's weights" in " ".join(done.output.split())


def test_magnitudes_of_another_size_are_named(here):
    shape = shapes()[LINEAR]
    made = lora(shape, Random(13))
    wrong = type(made)({**made.tensors, "dora_scale": torch.ones(shape[0] + 1, 1)}, made.rank, made.delta)
    path = written(here / "x.safetensors", {LINEAR: wrong})
    with pytest.raises(MismatchError, match=rf"dora_scale \[{shape[0] + 1}, 1\] should have {shape[0]} numbers"):
        read(path, base_of("sd15"))


def test_a_merge_of_doras_is_built_again(here):
    dora(here, "style", 14)
    dora(here, "face", 15)
    path = recipe(here, [PEFT, MODEL], ("style", "face"), report="full")
    assert invoke("run", path).exit_code == ExitCode.DONE
    again = invoke("verify", here / "dist" / "small", "--rebuild", "--recipe", path)
    assert again.exit_code == ExitCode.DONE, again.output


def test_init_and_merge_say_what_the_recipe_has_to_say(here):
    dora(here, "style", 16)
    plain(here, "face", 17)
    written_recipe = invoke(
        "init", "style.safetensors", "face.safetensors", "--base", tiny.folder("sd15"), "-o", "r.yaml"
    )
    assert written_recipe.exit_code == ExitCode.DONE, written_recipe.output
    text = (here / "r.yaml").read_text()
    assert "dora: true" in text
    assert "engine: factored" in text
    assert invoke("run", "r.yaml").exit_code == ExitCode.DONE
    done = invoke(
        "merge", "style.safetensors:0.7", "face.safetensors", "--base", tiny.folder("sd15"), "-o", "m.safetensors"
    )
    assert done.exit_code == ExitCode.DONE, done.output
    assert any(key.endswith(".diff") for key in load_file(here / "m.safetensors"))


def test_init_writes_no_recipe_that_can_not_be_run(here):
    dora(here, "style", 16)
    plain(here, "face", 17)
    refused = invoke(
        "init", "style.safetensors", "face.safetensors", "--base", tiny.folder("sd15"), "-o", "r.yaml", "--type", "ties"
    )
    assert refused.exit_code == ExitCode.MISMATCH, refused.output
    assert "`ties` combines up and down factors" in " ".join(refused.output.split())
    assert not (here / "r.yaml").exists()


def test_inspect_says_that_it_is_one(here):
    dora(here, "style", 18)
    shown = invoke("inspect", "style.safetensors", "--base", tiny.folder("sd15"))
    assert shown.exit_code == ExitCode.DONE, shown.output
    assert "DoRA (3 modules)" in shown.output


def test_python_is_told_what_it_can_not_have(here):
    dora(here, "style", 19)
    with pytest.raises(MismatchError, match="is a DoRA: what it adds depends on the base's weights"):
        load_adapter(here / "style.safetensors", base_of("sd15"))
