"""Norms, biases and tables in a merge: exact in every output that holds them, refused before where none does."""

from __future__ import annotations

import json
import re

import pytest
import single_files
import small_models
import tiny
import torch
from canonical import base_of, deltas_of
from command_line import invoke, write_recipe
from deltas.test_parameters import LIGHTX2V, lightx2v
from drawn import far
from safetensors.torch import load_file, save_file
from truth import relative_error, weighted_sum

from loramerge import load_adapter, preview, read_recipe, run
from loramerge.errors import ExitCode

pytestmark = pytest.mark.slow

WEIGHTS = {"style": 0.7, "face": -1.2}
FACTORED = {"combination_type": "cat", "engine": "factored"}
KOHYA, COMFYUI, MODEL = ({"kind": "adapter", "format": "kohya"}, {"kind": "adapter", "format": "comfyui"},
                         {"kind": "model"})  # fmt: skip
LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
NORM, BOTH = "down_blocks.0.resnets.0.norm1", "mid_block.attentions.0.norm"
QUERIES = "text_model.encoder.layers.0.self_attn.q_proj.bias"
KEYS = {"unet": (NORM, BOTH, f"{BOTH}.bias", f"{LAYER}.bias", "conv_in.bias"),
        "text_encoder": ("text_model.final_layer_norm", QUERIES)}  # fmt: skip
PREFIX = {"unet": "lora_unet_", "text_encoder": "lora_te_"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lora(path, seed, family="sd15", keys=KEYS, layers=(LAYER,), scale=0.25):
    """A LoRA in kohya's names, and what it adds: to parameters, and to layers, at strength 1."""
    generator = torch.Generator().manual_seed(seed)
    base, tensors, deltas = base_of(family), {}, {}
    for component, names in keys.items():
        part = base.components[component]
        for name in names:
            delta = torch.randn(part.others[name], generator=generator)
            stem = PREFIX[component] + name.removesuffix(".bias").replace(".", "_")
            tensors[f"{stem}.{'diff_b' if name.endswith('.bias') else 'diff'}"] = delta
            deltas.setdefault(component, {})[name] = delta.double()
    for name in layers:
        shape = base.components["unet"].modules[name]
        down, up = (torch.randn(size, generator=generator) for size in ((2, shape[1]), (shape[0], 2)))
        stem = f"lora_unet_{name.replace('.', '_')}"
        tensors |= {
            f"{stem}.lora_down.weight": down,
            f"{stem}.lora_up.weight": up,
            f"{stem}.alpha": torch.tensor(2 * scale),
        }
        deltas.setdefault("unet", {})[name] = up.double() @ down.double() * scale
    save_file(tensors, path)
    return deltas


def two(folder, **options):
    """Of which the second does not touch `NORM`."""
    fewer = {"unet": KEYS["unet"][1:], "text_encoder": KEYS["text_encoder"]}
    return {"style": lora(folder / "style.safetensors", 1, **options),
            "face": lora(folder / "face.safetensors", 2, **{"keys": fewer} | options)}  # fmt: skip


def recipe(folder, outputs, merge=FACTORED, base=None, loras=WEIGHTS, **more):
    sources = {name: {"source": f"{name}.safetensors", "weight": weight} for name, weight in loras.items()}
    return write_recipe(
        folder, base=base or tiny.folder("sd15"), loras=sources, outputs=list(outputs), merge=merge, **more
    )


def summed(deltas):
    return weighted_sum([(deltas[name], weight) for name, weight in WEIGHTS.items()])


def without_zeros(path):
    found = deltas_of(load_adapter(path, base_of("sd15")))
    return {component: {key: delta for key, delta in each.items() if delta.any()} for component, each in found.items()}


def named(component, key):
    return key if key.endswith(".bias") else f"{key}.weight"


@pytest.mark.parametrize("engine", ["factored", "peft"])
def test_every_output_that_holds_them_has_the_weighted_sum(here, engine):
    deltas = two(here)
    path = recipe(here, [KOHYA, COMFYUI, MODEL], {"combination_type": "cat", "engine": engine})
    done = run(read_recipe(path), device="cpu")
    assert all(error <= 1e-6 for error in done.fidelity.values())
    for place in ("kohya/small.safetensors", "comfyui/small.safetensors"):
        found = without_zeros(here / "dist" / "small" / place)
        assert found.keys() == summed(deltas).keys()
        for component, wanted in summed(deltas).items():
            assert found[component].keys() == wanted.keys(), place
            assert max(relative_error({key: found[component][key]}, {key: wanted[key]}) for key in wanted) <= 1e-6
    for component, file in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        before, after = (load_file(folder / component / f"{file}.safetensors")
                         for folder in (tiny.folder("sd15"), here / "dist/small/model"))  # fmt: skip
        changed = {named(component, key): delta for key, delta in summed(deltas)[component].items()}
        for key, tensor in before.items():
            if key in changed:
                off = after[key].double() - (tensor.double() + changed[key])
                assert off.norm() <= 1e-6 * (tensor.double() + changed[key]).norm(), key
            else:
                assert after[key].equal(tensor), key


def test_kohya_writes_both_halves_of_a_norm(here):
    two(here)
    run(read_recipe(recipe(here, [KOHYA, COMFYUI])), device="cpu")
    stem = f"lora_unet_{NORM.replace('.', '_')}"
    written = load_file(here / "dist/small/kohya/small.safetensors")
    assert written[f"{stem}.w_norm"].any()
    assert not written[f"{stem}.b_norm"].any()
    assert f"lora_unet_{LAYER.replace('.', '_')}.diff_b" in written
    named = load_file(here / "dist/small/comfyui/small.safetensors")
    assert {key for key in named if "in_layers.0" in key} == {"diffusion_model.input_blocks.1.0.in_layers.0.diff"}


@pytest.mark.parametrize("family", ["sd15", "sd2"])
def test_one_file_gets_them_where_they_lie(here, family):
    """In sd2 the biases of q, k and v are rows of one tensor."""
    save = single_files.checkpoint(family, tiny.folder(family))
    single_files.write(save, here / "base.safetensors")
    deltas = two(here, family=family)
    config = tiny.folder(family)
    path = recipe(here, [MODEL], base="base.safetensors")
    path.write_text(
        path.read_text().replace("source: base.safetensors", f"source: base.safetensors\n  config: {config}")
    )
    run(read_recipe(path), device="cpu")
    after = load_file(here / "dist/small/model/small.safetensors")
    changed = {key for key in save if not after[key].equal(save[key])}
    prefix = single_files.ENCODERS[family]["text_encoder"]
    norm = f"{single_files.UNET}input_blocks.1.0.in_layers.0.weight"
    assert norm in changed
    wanted = summed(deltas)
    assert relative_error({"x": after[norm].double() - save[norm].double()}, {"x": wanted["unet"][NORM]}) <= 1e-6
    bias = wanted["text_encoder"][QUERIES]
    (key,) = (key for key in changed if key.startswith(prefix) and re.search(r"(q_proj\.|in_proj_)bias$", key))
    rows = (after[key].double() - save[key].double())[: len(bias)]
    assert relative_error({"x": rows}, {"x": bias}) <= 1e-6
    assert after[key][len(bias) :].equal(save[key][len(bias) :])
    assert len(changed) == 8


def test_a_lone_model_gets_them(here):
    base = small_models.save("LlamaForCausalLM", here / "base", weights=True)
    shape = (16,)
    delta = torch.randn(shape)
    save_file(
        {"model.layers.0.input_layernorm.diff": delta, "model.norm.diff": delta.clone()}, here / "style.safetensors"
    )
    run(read_recipe(recipe(here, [MODEL], base=base.name, loras={"style": 0.5})), device="cpu")
    before, after = (load_file(each / "model.safetensors") for each in (base, here / "dist/small/model"))
    changed = {key for key in before if not after[key].equal(before[key])}
    assert changed == {"model.layers.0.input_layernorm.weight", "model.norm.weight"}
    for key in changed:
        assert relative_error({key: after[key]}, {key: before[key].double() + 0.5 * delta.double()}) <= 1e-6


@pytest.fixture
def distilled(here):
    """In a published size, whose shapes are data."""
    lightx2v(here / "style.safetensors")
    path = recipe(here, [COMFYUI], base="x", loras={"style": 0.5})
    path.write_text(path.read_text().replace("source: x", "family: wan/1.3b"))
    return path


def test_a_distilled_lora_of_wan_keeps_its_names(here, distilled):
    shown = invoke("run", distilled)
    assert shown.exit_code == ExitCode.DONE, shown.output
    before = load_file(here / "style.safetensors")
    after = load_file(here / "dist/small/comfyui/small.safetensors")
    # ComfyUI passes over `.diff_m`, and reads the same under the parameter's own name.
    keys = {key: key.replace(".diff_m", ".modulation.diff") for key in before if ".diff" in key}
    assert {key for key in after if ".diff" in key} == {*keys.values()}
    assert len(keys) == len(LIGHTX2V)
    assert all(after[written].equal(0.5 * before[key]) for key, written in keys.items())


def test_what_kohya_has_no_key_for_is_refused_before_anything_is_merged(here, distilled):
    shown = invoke("run", distilled, "--set", "outputs.0.format=kohya")
    said = " ".join(shown.output.split())
    assert shown.exit_code == ExitCode.MISMATCH, said
    assert "LoRA style has differences of transformer.blocks.3.scale_shift_table" in said
    assert "and `format: kohya` has keys for weights and biases alone" in said
    assert not (here / "dist").exists()


def test_peft_has_no_part_in_it(here):
    deltas = two(here)
    path = recipe(here, [KOHYA], {"combination_type": "cat"})
    done = run(read_recipe(path), device="cpu", reference=True)
    found = without_zeros(here / "dist/small/kohya/small.safetensors")["unet"]
    assert relative_error({"x": found[BOTH]}, {"x": summed(deltas)["unet"][BOTH]}) <= 1e-6
    assert any("5 parameters beside the layers have no part in PEFT's own merge" in note for note in done.warnings)


def pruned(delta, density):
    kept = torch.zeros_like(delta)
    places = delta.abs().topk(int(density * len(delta))).indices
    kept[places] = delta[places]
    return kept


def elected(deltas, weights, density):
    """TIES by its definition (Yadav et al.), as PEFT has it."""
    kept = torch.stack([pruned(delta, density) for delta in deltas])
    signs = torch.where(kept.sum(0) >= 0, 1.0, -1.0)
    agree = kept.sign() == signs
    weighted = (kept * torch.tensor(weights, dtype=torch.float64)[:, None] * agree).sum(0)
    return weighted / agree.sum(0).clamp(min=1)


RULES = {
    "linear": lambda one, two: 0.7 * one - 1.2 * two,
    "cat": lambda one, two: 0.7 * one - 1.2 * two,
    "svd": lambda one, two: 0.7 * one - 1.2 * two,
    "ties": lambda one, two: elected([one, two], [0.7, -1.2], 0.5),
    "ties_svd": lambda one, two: elected([one, two], [0.7, -1.2], 0.5),
    "magnitude_prune": lambda one, two: 0.7 * pruned(one, 0.5) - 1.2 * pruned(two, 0.5),
    "magnitude_prune_svd": lambda one, two: 0.7 * pruned(one, 0.5) - 1.2 * pruned(two, 0.5),
}


@pytest.mark.parametrize("engine", ["factored", "peft"])
@pytest.mark.parametrize("combination_type", RULES)
def test_a_type_does_to_values_what_it_does_to_those_of_factors_or_deltas(here, combination_type, engine):
    deltas = two(here)
    merge = {"combination_type": combination_type, "engine": engine}
    merge |= {} if combination_type in ("linear", "cat", "svd") else {"density": 0.5}
    done = run(read_recipe(recipe(here, [KOHYA], merge)), device="cpu")
    found = without_zeros(here / "dist/small/kohya/small.safetensors")["unet"]
    for key in (BOTH, f"{LAYER}.bias"):
        wanted = RULES[combination_type](deltas["style"]["unet"][key], deltas["face"]["unet"][key])
        assert relative_error({key: found[key]}, {key: wanted}) <= 1e-6
    said = any("combines their values, with the whole weight of each LoRA" in note for note in done.warnings)
    assert said == (combination_type not in ("cat", "svd"))


def test_dare_keeps_a_share_of_the_values(here):
    deltas = two(here)
    merge = {"combination_type": "dare_linear", "density": 0.5, "engine": "factored", "seed": 3}
    run(read_recipe(recipe(here, [KOHYA], merge)), device="cpu")
    found = without_zeros(here / "dist/small/kohya/small.safetensors")["unet"][BOTH]
    one, other = (deltas[name]["unet"][BOTH] for name in WEIGHTS)
    ways = torch.stack([0.7 * 2 * a * one - 1.2 * 2 * b * other for a in (0, 1) for b in (0, 1)])
    assert ((ways - found).abs().min(0).values <= 1e-6 * ways.abs().max()).all()
    assert 0 < ((ways - found).abs().argmin(0) == 0).sum() < len(found)


def test_what_is_no_layer_is_never_cut_to_a_rank(here):
    deltas = two(here)
    path = recipe(here, [KOHYA], {"combination_type": "svd", "svd_rank": 1, "engine": "factored"})
    run(read_recipe(path), device="cpu")
    found = without_zeros(here / "dist/small/kohya/small.safetensors")
    assert relative_error({"x": found["unet"][BOTH]}, {"x": summed(deltas)["unet"][BOTH]}) <= 1e-6


def test_a_lora_of_nothing_else(here):
    deltas = {"style": lora(here / "style.safetensors", 1, layers=())}
    path = recipe(here, [KOHYA, MODEL], loras={"style": 1.0}, report="full")
    shown = invoke("run", path)
    assert shown.exit_code == ExitCode.DONE, shown.output
    assert "no layers" in shown.output
    found = without_zeros(here / "dist/small/kohya/small.safetensors")
    assert all(
        found[component][key].equal(delta) for component, each in deltas["style"].items() for key, delta in each.items()
    )
    again = invoke("verify", here / "dist" / "small", "--rebuild", "--recipe", path)
    assert again.exit_code == ExitCode.DONE, again.output


REFUSED = {
    "diffusers": {"kind": "adapter", "format": "diffusers"},
    "peft": {"kind": "adapter", "format": "peft"},
    "inputs": {"kind": "inputs"},
}


@pytest.mark.parametrize("merge", [FACTORED, {"combination_type": "svd", "svd_rank": 4, "engine": "factored"}])
@pytest.mark.parametrize("case", REFUSED)
def test_what_can_t_hold_them_is_refused_before_anything_is_merged(here, case, merge):
    two(here)
    done = invoke("run", recipe(here, [REFUSED[case]], merge))
    said = " ".join(done.output.split())
    assert done.exit_code == ExitCode.MISMATCH, said
    assert "LoRA style changes 7 parameters beside the weights of layers" in said
    assert f"first text_encoder.{QUERIES} (parameter difference)" in said
    assert f"the output {case} can hold none" in said
    assert "write `kind: model`, or `format: comfyui` or `kohya`" in said
    assert not (here / "dist").exists()


def test_zeros_are_left_out_with_a_word(here):
    """What diffusers' own converter drops from the distilled LoRAs of Wan."""
    lora(here / "style.safetensors", 1)
    tensors = load_file(here / "style.safetensors")
    empty = {key: torch.zeros_like(each) if ".diff" in key else each for key, each in tensors.items()}
    save_file(empty, here / "style.safetensors")
    done = run(read_recipe(recipe(here, [REFUSED["diffusers"]], loras={"style": 1.0})), device="cpu")
    assert [module for _, module, _ in done.merged] == [LAYER]
    assert "LoRA style: 7 differences of norms, biases and the like are zero and left out" in done.warnings


def test_the_report_and_the_pages_speak_of_them(here):
    deltas = two(here)
    done = run(read_recipe(recipe(here, [{**KOHYA, "dtype": "float16"}, MODEL], report="full")), device="cpu")
    modules = done.report["fidelity"]["unet"]["modules"]
    assert modules[NORM]["ranks"] == {"style": 0}
    assert modules[LAYER]["ranks"] == {"style": 2, "face": 2}
    assert [lora["ranks"] for lora in done.report["loras"]] == [{"2": 1}, {"2": 1}]
    norm = summed(deltas)["unet"][BOTH].norm()
    assert abs(modules[BOTH]["norm"] - norm) <= 1e-6 * norm
    assert 0 < done.report["rounding"]["kohya"] < 1e-3
    (pair,) = done.report["overlap"]["pairs"]
    assert pair["modules"] == 7
    assert "2" in (here / "dist/small/README.md").read_text()


def test_inspect_and_overlap_speak_of_them(here):
    two(here)
    shown = invoke("inspect", "style.safetensors", "--base", tiny.folder("sd15"), "-v")
    assert shown.exit_code == ExitCode.DONE, shown.output
    assert "parameter difference (7 modules), LoRA (1 module)" in shown.output
    data = json.loads(invoke("inspect", "style.safetensors", "--base", tiny.folder("sd15"), "--json").output)
    (found,) = data if isinstance(data, list) else [data]
    assert found["ranks"] == {"2": 1}
    assert {module["rank"] for module in found["modules"] if module["kind"] == "parameter difference"} == {0}
    both = invoke("inspect", "style.safetensors", "face.safetensors", "--base", tiny.folder("sd15"))
    assert both.exit_code == ExitCode.DONE, both.output


def test_weights_by_block_reach_them(here):
    deltas = {"style": lora(here / "style.safetensors", 1)}
    weight = {"unet": {"down": 0.5, "mid": 2.0, "other": 0}, "text_encoder": 0}
    path = write_recipe(here, base=tiny.folder("sd15"), outputs=[KOHYA], merge=FACTORED,
                        loras={"style": {"source": "style.safetensors", "weight": weight}})  # fmt: skip
    done = run(read_recipe(path), device="cpu")
    found = without_zeros(here / "dist/small/kohya/small.safetensors")["unet"]
    assert found[NORM].equal(0.5 * deltas["style"]["unet"][NORM])
    assert found[BOTH].equal(2.0 * deltas["style"]["unet"][BOTH])
    assert "conv_in.bias" not in found
    assert any("3 of 8 modules weigh 0" in note for note in done.warnings)


def test_a_pipeline_draws_with_them(here):
    from loramerge.previews.columns import ActiveLora
    from loramerge.previews.parameters import ChangedParameters

    two(here)
    base, pipeline = base_of("sd15"), tiny.FAMILIES["sd15"]()
    adapters = {name: load_adapter(here / f"{name}.safetensors", base) for name in WEIGHTS}
    before = {name: each.clone() for name, each in pipeline.unet.state_dict().items()}
    changed = ChangedParameters(pipeline, base)
    changed.set([ActiveLora(name, adapters[name], weight) for name, weight in WEIGHTS.items()])
    after = pipeline.unet.state_dict()
    wanted = sum(weight * adapters[name].components["unet"][BOTH].delta() for name, weight in WEIGHTS.items())
    assert relative_error({"x": after[f"{BOTH}.weight"]}, {"x": before[f"{BOTH}.weight"].double() + wanted}) <= 1e-6
    assert {name for name in after if not after[name].equal(before[name])} == {
        named("unet", key) for key in KEYS["unet"]
    }
    changed.set([])
    assert all(each.equal(before[name]) for name, each in pipeline.unet.state_dict().items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_what_is_drawn_with_loras_is_what_the_fused_pipeline_draws(here):
    two(here)
    drawing = {"prompts": ["a bowl"], "steps": 2, "width": 64, "height": 64}
    path = recipe(here, [MODEL], preview=drawing)
    run(read_recipe(path), device="cpu")
    preview(read_recipe(path), out=here / "pictures", device="cpu")
    fused = here / "dist/small/preview/01-merged.png"
    assert far(here / "pictures/01-merged.png", fused) <= 1
    assert far(here / "pictures/01-stacked.png", fused) <= 1
    assert far(here / "pictures/01-base.png", fused) > 1
