"""Language, encoder, speech and vision models: PEFT folders in, one PEFT folder out, against PEFT itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings

import pytest
import small_models
import torch
from command_line import invoke, write_recipe
from engines.small import PARAMETERS
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from loramerge import load_adapter, load_base, read_recipe, run
from loramerge.errors import ExitCode, MismatchError, SourceError
from loramerge.methods import Merge
from loramerge.stages.combine import WeightedAdapter, combine
from loramerge.stages.probe import probe

pytestmark = pytest.mark.slow

WEIGHTS = {"a": 0.7, "b": -0.4}
LLAMA, BERT = "LlamaForCausalLM", "BertForSequenceClassification"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A base of a class and LoRAs for it, merged into an artifact."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def merged(here, class_name, *, outputs=({"kind": "adapter", "format": "peft"},), loras=WEIGHTS, **more):
    base = small_models.save(class_name, here / "base")
    sources = {name: {"source": name, "weight": weight} for name, weight in loras.items()}
    recipe = write_recipe(here, base=base.name, loras=sources, outputs=list(outputs), **more)
    return run(read_recipe(recipe), out=here / "out", device="cpu")


def two(here, class_name, **settings):
    for seed, name in enumerate(WEIGHTS):
        small_models.lora(class_name, here / name, seed=seed, **settings)


def off(got, want):
    norm = torch.cat([each.flatten() for each in want.values()]).norm()
    return float(torch.cat([(got[name] - want[name]).flatten() for name in want]).norm() / norm)


def summed(class_name, folder):
    parts = {name: small_models.deltas(class_name, folder / name) for name in WEIGHTS}
    return {key: sum(weight * parts[name][key] for name, weight in WEIGHTS.items()) for key in parts["a"]}


@pytest.mark.parametrize("engine", ["factored", "peft"])
@pytest.mark.parametrize("class_name", small_models.CONFIGS)
def test_the_merged_adapter_is_the_weighted_sum_as_peft_loads_it(here, class_name, engine):
    small_models.lora(class_name, here / "a", seed=1, rank=4)
    small_models.lora(class_name, here / "b", seed=2, rank=3, use_rslora=True, lora_alpha=5)
    merged(here, class_name, merge={"combination_type": "cat", "engine": engine})
    assert {path.name for path in (here / "out" / "peft").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert off(small_models.deltas(class_name, here / "out" / "peft"), summed(class_name, here)) < 1e-6


@pytest.mark.parametrize("class_name", [LLAMA, "GPT2LMHeadModel"])
def test_patterns_of_rank_and_alpha_are_read_as_peft_means_them(here, class_name):
    last = small_models.TARGETS.get(class_name, ["", "v_proj"])[1]
    for seed, (name, rslora) in enumerate({"a": False, "b": True}.items()):
        patterns = {"rank_pattern": {last: 2}, "alpha_pattern": {f"1.*{last}" if rslora else last: 7}}
        small_models.lora(class_name, here / name, seed=seed, use_rslora=rslora, lora_alpha=3 + seed, **patterns)
    merged(here, class_name)
    assert off(small_models.deltas(class_name, here / "out" / "peft"), summed(class_name, here)) < 1e-6


@pytest.mark.parametrize("combination_type", PARAMETERS)
def test_every_type_gives_what_peft_gives_on_the_real_model(here, combination_type):
    from peft import PeftModel

    two(here, LLAMA)
    base = load_base(small_models.save(LLAMA, here / "base"))
    chosen = TypeAdapter(Merge).validate_python(
        {"combination_type": combination_type, **PARAMETERS[combination_type], "engine": "peft"}
    )
    loras = [WeightedAdapter(name, load_adapter(here / name, base), weight) for name, weight in WEIGHTS.items()]
    found = combine(loras, base, chosen, device="cpu").adapter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(small_models.built(LLAMA), here / "a", adapter_name="a")
        model.load_adapter(here / "b", adapter_name="b")
        torch.manual_seed(chosen.masks_from or 0)
        model.base_model.add_weighted_adapter(
            list(WEIGHTS), list(WEIGHTS.values()), "merged", **chosen.peft_arguments([4, 4])
        )
    layers = dict(model.base_model.model.named_modules())
    want = {name: layers[name].get_delta_weight("merged").detach().double() for _, name, _ in found}
    assert len(want) == 6
    assert off({name: pair.delta() for _, name, pair in found}, want) < 1e-4


@pytest.mark.parametrize("combination_type", PARAMETERS)
def test_every_type_by_the_engine_of_factors(here, combination_type):
    two(here, "GPT2LMHeadModel")
    result = merged(here, "GPT2LMHeadModel", merge={
        "combination_type": combination_type, **PARAMETERS[combination_type], "engine": "factored"})  # fmt: skip
    want = {
        name.removesuffix(".weight"): delta
        for name, delta in small_models.deltas("GPT2LMHeadModel", here / "out" / "peft").items()
    }
    for _, module, pair in result.merged:
        assert torch.allclose(want[module], pair.delta().T, atol=1e-6)


# How vLLM (lora/utils.py, lora/peft_helper.py) and llama.cpp (convert_lora_to_gguf.py) take the keys of an adapter.
VLLM = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])\.weight")


def by_llama_cpp(folder):
    """Name of each tensor of the base → (A, B, scale)."""
    settings = json.loads((folder / "adapter_config.json").read_text())
    found = {}
    for key, tensor in load_file(folder / "adapter_model.safetensors").items():
        half = next(half for half in ("lora_A", "lora_B") if f".{half}.weight" in key)
        name = key.removeprefix("base_model.model.").replace(f".{half}.weight", ".weight")
        found.setdefault(name, {})[half] = tensor.double()
    return {
        name: (each["lora_A"], each["lora_B"], settings["lora_alpha"] / each["lora_B"].shape[1])
        for name, each in found.items()
    }


def test_vllm_and_llama_cpp_take_the_adapter_for_the_same(here):
    two(here, LLAMA, task_type="CAUSAL_LM")
    merged(here, LLAMA)
    folder = here / "out" / "peft"
    settings = json.loads((folder / "adapter_config.json").read_text())
    want = {name: delta for name, delta in summed(LLAMA, here).items() if delta.any()}
    keys = load_file(folder / "adapter_model.safetensors")
    assert {VLLM.fullmatch(key)["module"] + ".weight" for key in keys} == want.keys()
    assert not any(settings[key] for key in ("use_dora", "modules_to_save", "use_rslora", "alpha_pattern"))
    assert settings["bias"] == "none"
    assert settings["r"] <= 16
    found = by_llama_cpp(folder)
    assert off({name: scale * up @ down for name, (down, up, scale) in found.items()}, want) < 1e-6
    scale = settings["lora_alpha"] / settings["r"]  # vLLM takes one for all
    assert off({name: scale * up @ down for name, (down, up, _) in found.items()}, want) < 1e-6


def said(folder):
    settings = json.loads((folder / "adapter_config.json").read_text())
    return settings["task_type"], settings["base_model_name_or_path"]


def test_task_and_base_are_carried_where_the_loras_agree(here):
    for name, task in {"a": "CAUSAL_LM", "b": None}.items():
        small_models.lora(LLAMA, here / name, seed=0, task_type=task, trained_on="some/llama")
    merged(here, LLAMA, outputs=[{"kind": "adapter", "format": "peft"}, {"kind": "inputs"}])
    assert said(here / "out" / "peft") == ("CAUSAL_LM", "some/llama")
    assert said(here / "out" / "inputs" / "b") == (None, "some/llama")


def test_a_path_of_somebodys_machine_is_not_carried(here):
    for name, task in {"a": "CAUSAL_LM", "b": "FEATURE_EXTRACTION"}.items():
        small_models.lora(LLAMA, here / name, seed=0, task_type=task, trained_on="/home/somebody/llama")
    merged(here, LLAMA)
    assert said(here / "out" / "peft") == (None, None)


def test_a_lora_of_the_inner_model_is_read_by_the_names_of_the_whole(here):
    for seed, name in enumerate(WEIGHTS):
        small_models.lora("BertModel", here / name, seed=seed)
    result = merged(here, BERT)
    assert {module for _, module, _ in result.merged} == {
        f"bert.encoder.layer.{layer}.attention.self.{which}" for layer in (0, 1) for which in ("query", "value")
    }
    inner = summed("BertModel", here)
    found = small_models.deltas(BERT, here / "out" / "peft")
    assert off({name: found[f"bert.{name}"] for name in inner if delta_of(inner, name)}, inner_of(inner)) < 1e-6
    note = "LoRA a: its names are those of an inner part of the base: encoder.layer.0.attention.self.query is read as "
    assert any(each.startswith(note) for each in result.warnings)


def delta_of(deltas, name):
    return bool(deltas[name].any())


def inner_of(deltas):
    return {name: delta for name, delta in deltas.items() if delta.any()}


def test_a_lora_of_a_model_around_the_base_is_read_without_its_prefix(here):
    for seed, name in enumerate(WEIGHTS):
        small_models.lora(BERT, here / name, seed=seed, target_modules=["query", "value"])
    result = merged(here, "BertModel")
    assert any("those of a model around the base" in each for each in result.warnings)
    assert len(result.merged) == 4


def test_a_lora_of_one_of_several_inner_parts_is_refused(here):
    folder = small_models.lora(
        "WhisperForConditionalGeneration", here / "a", seed=0, target_modules=r".*decoder.*q_proj"
    )
    file = folder / "adapter_model.safetensors"
    part = {key.replace("model.model.decoder.", "model."): each for key, each in load_file(file).items()}
    save_file({key: each for key, each in part.items() if ".self_attn." in key}, file)
    with pytest.raises(MismatchError, match=r"several have layers of such names"):
        load_adapter(folder, load_base(small_models.save("WhisperForConditionalGeneration", here / "base")))


def test_names_of_older_releases_are_read_as_those_of_the_installed_one(here):
    """transformers 5 has renamed ViT's layers; LoRAs from before are out there."""
    name = "ViTForImageClassification"
    two(here, name)
    want = summed(name, here)
    old = {
        ".layers.": ".encoder.layer.",
        ".attention.q_proj": ".attention.attention.query",
        ".attention.v_proj": ".attention.attention.value",
        ".mlp.fc1": ".intermediate.dense",
    }
    for lora in WEIGHTS:
        file = here / lora / "adapter_model.safetensors"
        tensors = load_file(file)
        for new, before in old.items():
            tensors = {key.replace(new, before): tensor for key, tensor in tensors.items()}
        save_file(tensors, file)
    merged(here, name)
    assert off(small_models.deltas(name, here / "out" / "peft"), want) < 1e-6


@pytest.mark.parametrize("infix", ["default", "my-adapter"])
def test_the_name_of_the_adapter_within_keys_means_nothing(here, infix):
    two(here, LLAMA)
    want = summed(LLAMA, here)
    for lora in WEIGHTS:
        file = here / lora / "adapter_model.safetensors"
        save_file({key.replace(".weight", f".{infix}.weight"): each for key, each in load_file(file).items()}, file)
    merged(here, LLAMA)
    assert off(small_models.deltas(LLAMA, here / "out" / "peft"), want) < 1e-6


def test_layers_that_are_called_as_parts_of_a_pipeline_are(here):
    """GPT-2 has a `transformer`; so has FLUX. Folders may be called so as well."""
    small_models.lora("GPT2LMHeadModel", here / "transformer" / "unet", seed=1)
    base = load_base(small_models.save("GPT2LMHeadModel", here / "base"))
    assert set(load_adapter(here / "transformer" / "unet", base).components) == {"model"}


@pytest.mark.parametrize(
    "output",
    [{"kind": "adapter", "format": each} for each in ("kohya", "comfyui", "diffusers")],
    ids=lambda output: output["format"],
)
def test_formats_of_programs_that_draw_are_refused_before_the_merge(here, output):
    two(here, LLAMA)
    with pytest.raises(MismatchError, match=r"is for parts of a pipeline that draws") as caught:
        merged(here, LLAMA, outputs=[output])
    assert "`format: peft`" in caught.value.hint
    assert "`kind: inputs`" in caught.value.hint
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        ({"outputs": [{"kind": "pipeline"}]}, "merge_and_unload"),
        ({"preview": {"prompts": ["a fox"]}}, "leave `preview` out"),
    ],
)
def test_fusing_and_pictures_are_refused_before_anything_is_fetched(here, more, hint):
    (here / "a").mkdir()  # it is never looked at
    with pytest.raises(MismatchError, match=r"one model and no pipeline") as caught:
        merged(here, LLAMA, loras={"a": 1.0}, **more)
    assert hint in caught.value.hint


def test_loras_of_bases_with_two_names_are_told_apart(here):
    for name in ("a", "b"):
        small_models.lora(LLAMA, here / name, seed=1, trained_on=f"org/{name}")
    with pytest.raises(MismatchError) as caught:
        probe([str(here / "a"), str(here / "b")])
    assert caught.value.message.endswith(f"{here / 'a'} was trained on org/a and {here / 'b'} was trained on org/b")
    assert "say which by --base" in caught.value.hint


@pytest.mark.slow
def test_a_merge_loads_nothing_that_draws_and_builds_no_model_where_its_shapes_are_known(here):
    """PEFT itself loads transformers."""
    two(here, LLAMA)
    merged(here, LLAMA, merge={"combination_type": "ties", "density": 0.5, "engine": "peft"})
    code = (
        "import sys\n"
        "from loramerge import read_recipe, run\n"
        "run(read_recipe('small.yaml'), out='again', device='cpu')\n"
        "print({'diffusers', 'transformers.models.llama.modeling_llama'} & {*sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "set()\n"
    weights = [here / place / "peft" / "adapter_model.safetensors" for place in ("out", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_what_adapter_a_command_line_is_told(here):
    base = small_models.save(LLAMA, here / "base")
    for seed, name in enumerate(WEIGHTS):
        small_models.lora(LLAMA, here / name, seed=seed, task_type="CAUSAL_LM", trained_on=str(base))
    shown = invoke("inspect", "a")
    assert "a language model such as Llama" in shown.output
    assert re.search(rf"trained on\s+{re.escape(str(base)[:40])}", shown.output)
    assert re.search(r"family\s+LlamaForCausalLM", invoke("inspect", "a", "--base", "base").output)
    done = invoke("init", "a", "b", "--name", "both")
    assert done.exit_code == ExitCode.DONE, done.output
    recipe = read_recipe(here / "both.yaml")
    assert recipe.base.source == "base"
    assert recipe.folders == ("peft",)
    assert "kind: model" not in recipe.text
    assert "merged" in invoke("merge", "a", "b", "-o", "merged").output
    assert (here / "merged" / "adapter_config.json").exists()


def test_init_wants_the_base_where_nothing_names_it(here):
    small_models.lora(LLAMA, here / "a", seed=0)
    done = invoke("init", "a")
    assert done.exit_code == ExitCode.MISMATCH
    assert "looks like a LoRA for a language model such as Llama" in done.stderr


@pytest.mark.parametrize("class_name", [LLAMA, "ViTForImageClassification", "WhisperForConditionalGeneration"])
def test_the_card_loads_the_merge(here, class_name):
    two(here, class_name)
    small_models.save(class_name, here / "weights", weights=True)
    merged(here, class_name)
    card = (here / "out" / "README.md").read_text()
    for word in ("template:sd-lora", "A1111", "ComfyUI", "DiffusionPipeline", "image.save", "text-to-image"):
        assert word not in card
    assert "library_name: peft" in card
    code = re.search(r"### PEFT: `peft`\n\n```python\n(.*?)\n```", card, re.DOTALL)[1]
    assert "AutoModelFor" in code
    os.chdir(here / "out")
    scope = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code.replace('"base"', '"../weights"'), scope)  # noqa: S102  the card's own code
    key = next(name for name, each in summed(class_name, here).items() if each.any()).removesuffix(".weight")
    layer = dict(scope["model"].base_model.model.named_modules())[key]
    want = small_models.deltas(class_name, here / "out" / "peft")[f"{key}.weight"]
    assert torch.allclose(layer.get_delta_weight("default").double(), want, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_bias": True}, "lora_bias"),
        ({"target_modules": ["embed_tokens"]}, "an embedding LoRA"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_what_is_no_plain_lora_is_refused_by_name(here, settings, message):
    small_models.lora(LLAMA, here / "a", seed=0, **settings)
    with pytest.raises(SourceError, match=message) as caught:
        load_adapter(here / "a", load_base(small_models.save(LLAMA, here / "base")))
    assert caught.value.hint
