"""Heads and embeddings that LoRAs trained in full: carried to the byte, or refused by name."""

from __future__ import annotations

import json
import re
import warnings

import pytest
import small_models
import torch
from command_line import invoke, write_recipe
from safetensors.torch import load_file, save_file

from loramerge import load_adapter, load_base, read_recipe, run
from loramerge.errors import ExitCode, MismatchError, SourceError

BERT, LLAMA = "BertForSequenceClassification", "LlamaForCausalLM"
PEFT = ({"kind": "adapter", "format": "peft"},)
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def merged(here, class_name, loras, *, outputs=PEFT, **more):
    base = small_models.save(class_name, here / "base")
    sources = {name: {"source": name, "weight": weight} for name, weight in loras.items()}
    recipe = write_recipe(here, base=base.name, loras=sources, outputs=list(outputs), **more)
    return run(read_recipe(recipe), out=here / "out", device="cpu")


def saved_in(folder):
    return {key: each for key, each in load_file(folder / WEIGHTS).items() if ".lora_" not in key}


def settings_of(folder):
    return json.loads((folder / "adapter_config.json").read_text())


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[key].view(torch.uint8), other[key].view(torch.uint8)) for key in one
    )


@pytest.mark.parametrize("engine", ["factored", "peft"])
def test_a_head_that_one_lora_trained_is_carried_and_loads(here, engine):
    small_models.lora(BERT, here / "a", seed=1, task_type="SEQ_CLS", target_modules=["query"])
    small_models.lora(BERT, here / "b", seed=2, task_type="FEATURE_EXTRACTION", target_modules=["query", "value"])
    result = merged(here, BERT, {"a": 0.7, "b": 2.0}, merge={"combination_type": "cat", "engine": engine})
    there = here / "out" / "peft"
    assert same(saved_in(there), saved_in(here / "a"))
    assert len(saved_in(there)) == 2
    assert settings_of(there)["modules_to_save"] == ["classifier"]
    note = (
        "model: classifier.bias, classifier.weight (2 tensors, 136 bytes), trained in full, come from LoRA a, as they "
    )
    assert any(each.startswith(note) and "no weight scales them" in each for each in result.warnings)
    head = load_file(here / "a" / WEIGHTS)["base_model.model.classifier.weight"].double()
    assert torch.equal(small_models.weights_with(BERT, there)["classifier.weight"], head)


def test_a_head_of_a_task_loads_with_its_task(here):
    for seed, name in enumerate("ab"):
        small_models.lora(BERT, here / name, seed=seed, task_type="SEQ_CLS", target_modules=["query"])
    for key in ("weight", "bias"):  # b has a's head
        tensors = load_file(here / "b" / WEIGHTS)
        tensors[f"base_model.model.classifier.{key}"] = load_file(here / "a" / WEIGHTS)[
            f"base_model.model.classifier.{key}"
        ]
        save_file(tensors, here / "b" / WEIGHTS)
    result = merged(here, BERT, {"a": 1.0, "b": 1.0})
    assert settings_of(here / "out" / "peft")["task_type"] == "SEQ_CLS"
    assert same(saved_in(here / "out" / "peft"), saved_in(here / "a"))
    assert any("LoRAs a and b, which agree" in each for each in result.warnings)
    small_models.weights_with(BERT, here / "out" / "peft")


def test_heads_that_differ_are_refused_by_name(here):
    for seed, name in enumerate("ab"):
        small_models.lora(BERT, here / name, seed=seed, task_type="SEQ_CLS", target_modules=["query"])
    with pytest.raises(MismatchError, match=r"LoRAs a and b both trained model\.classifier in full") as caught:
        merged(here, BERT, {"a": 1.0, "b": 1.0})
    assert caught.value.exit_code == ExitCode.MISMATCH
    assert not (here / "out").exists()
    merged(here, BERT, {"a": 1.0, "b": 0.0})  # one that weighs nothing takes no part
    assert same(saved_in(here / "out" / "peft"), saved_in(here / "a"))


def test_a_task_with_a_head_and_no_head_is_said_without_the_task(here):
    small_models.lora(BERT, here / "a", seed=1, target_modules=["query"])
    settings = settings_of(here / "a") | {"task_type": "SEQ_CLS"}
    (here / "a" / "adapter_config.json").write_text(json.dumps(settings))
    result = merged(here, BERT, {"a": 1.0})
    assert settings_of(here / "out" / "peft")["task_type"] is None
    assert any("task_type SEQ_CLS: the setting is left out" in each for each in result.warnings)


def test_embeddings_in_any_number_format_are_carried_as_they_lie_there(here):
    small_models.lora(LLAMA, here / "a", seed=1, modules_to_save=["embed_tokens", "lm_head"])
    tensors = load_file(here / "a" / WEIGHTS)
    key = "base_model.model.model.embed_tokens.weight"
    save_file(tensors | {key: tensors[key].bfloat16()}, here / "a" / WEIGHTS)
    small_models.lora(LLAMA, here / "b", seed=2)
    merged(here, LLAMA, {"a": 1.0, "b": 1.0}, outputs=[{**PEFT[0], "dtype": "float16"}, {"kind": "inputs"}])
    for place in ("peft", "inputs/a"):
        assert same(saved_in(here / "out" / place), saved_in(here / "a"))
        assert settings_of(here / "out" / place)["modules_to_save"] == ["lm_head", "model.embed_tokens"]
    assert saved_in(here / "out" / "inputs" / "b") == {}


def test_an_embedding_that_no_setting_names_is_put_into_the_base(here):
    """PEFT saves embeddings so whose number of rows was changed."""
    small_models.lora(LLAMA, here / "a", seed=1)
    key, tensors = "base_model.model.model.embed_tokens.weight", load_file(here / "a" / WEIGHTS)
    save_file(tensors | {key: torch.full((40, 16), 0.5)}, here / "a" / WEIGHTS)
    merged(here, LLAMA, {"a": 1.0})
    assert settings_of(here / "out" / "peft")["modules_to_save"] is None
    assert small_models.weights_with(LLAMA, here / "out" / "peft")["model.embed_tokens.weight"].unique() == 0.5


def test_a_layer_whose_own_weight_lies_beside_its_pair_keeps_both(here):
    """PEFT saves the base's weight too where a LoRA is on the output layer."""
    for seed, name in enumerate("ab"):
        small_models.lora(LLAMA, here / name, seed=seed, target_modules=["q_proj", "lm_head"])
    assert {*saved_in(here / "a")} == {"base_model.model.lm_head.base_layer.weight"}
    merged(here, LLAMA, {"a": 1.0, "b": -2.0})
    assert same(saved_in(here / "out" / "peft"), saved_in(here / "a"))
    one, other = (small_models.deltas(LLAMA, here / name)["lm_head.weight"] for name in "ab")
    found = small_models.deltas(LLAMA, here / "out" / "peft")["lm_head.weight"]
    assert (found - (one - 2 * other)).norm() < 1e-6 * found.norm()


def test_added_tokens_need_a_base_that_has_them(here):
    small_models.lora(LLAMA, here / "a", seed=1)
    key, tensors = "base_model.model.model.embed_tokens.weight", load_file(here / "a" / WEIGHTS)
    save_file(tensors | {key: torch.ones(42, 16)}, here / "a" / WEIGHTS)
    with pytest.raises(MismatchError, match=r"embed_tokens\.weight.* is 42×16, the base has 40×16") as caught:
        merged(here, LLAMA, {"a": 1.0})
    assert "resize_token_embeddings(42)" in caught.value.hint


def test_what_was_trained_in_full_and_by_a_pair_is_refused(here):
    small_models.lora(LLAMA, here / "a", seed=1, modules_to_save=["lm_head"])
    small_models.lora(LLAMA, here / "b", seed=2, target_modules=["q_proj", "lm_head"])
    pairs = {key: each for key, each in load_file(here / "b" / WEIGHTS).items() if ".lora_" in key}
    save_file(pairs, here / "b" / WEIGHTS)
    with pytest.raises(MismatchError, match=r"LoRA a trained model\.lm_head in full, and LoRA b has a pair for it"):
        merged(here, LLAMA, {"a": 1.0, "b": 1.0})


def test_a_state_dict_as_trainers_dump_it_is_read(here):
    small_models.lora(BERT, here / "a", seed=1, task_type="SEQ_CLS", target_modules=["query"])
    tensors = load_file(here / "a" / WEIGHTS)
    raw = {key.replace("classifier.", "classifier.modules_to_save.default."): each for key, each in tensors.items()}
    (here / "b").mkdir()
    (here / "b" / "adapter_config.json").write_text((here / "a" / "adapter_config.json").read_text())
    save_file(raw, here / "b" / WEIGHTS)
    base = load_base(small_models.save(BERT, here / "base"))
    assert load_adapter(here / "b", base).equals(load_adapter(here / "a", base))
    save_file(raw | {"base_model.model.classifier.original_module.weight": torch.ones(2, 16)}, here / "b" / WEIGHTS)
    with pytest.raises(SourceError, match="original_module"):
        load_adapter(here / "b", base)


def test_a_module_that_settings_name_and_the_file_lacks(here):
    small_models.lora(BERT, here / "a", seed=1, task_type="SEQ_CLS", target_modules=["query"])
    tensors = load_file(here / "a" / WEIGHTS)
    save_file({key: each for key, each in tensors.items() if ".lora_" in key}, here / "a" / WEIGHTS)
    with pytest.raises(SourceError, match=r"names modules_to_save: classifier, score, and has no tensor"):
        load_adapter(here / "a", load_base(small_models.save(BERT, here / "base")))


@pytest.mark.parametrize(
    ("key", "tensor", "message"),
    [
        ("classifier.weight", torch.full((2, 16), torch.nan), "NaN"),
        ("classifier.weight", torch.ones(2, 16, dtype=torch.int32), "holds I32"),
        ("classifier.lora_C.weight", torch.ones(2, 16), "no such parameter"),
    ],
)
def test_damaged_parameters_are_refused(here, key, tensor, message):
    small_models.lora(BERT, here / "a", seed=1, target_modules=["query"])
    save_file(load_file(here / "a" / WEIGHTS) | {f"base_model.model.{key}": tensor}, here / "a" / WEIGHTS)
    with pytest.raises((SourceError, MismatchError), match=message):
        load_adapter(here / "a", load_base(small_models.save(BERT, here / "base")))


def test_inspect_shows_it_with_the_base_and_without(here):
    small_models.lora(BERT, here / "a", seed=1, task_type="SEQ_CLS", target_modules=["query"])
    small_models.save(BERT, here / "base")
    for more in ([], ["--base", "base"]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert re.search(
                r"in full\s+classifier.bias, 8 B\n\s+in full\s+classifier.weight, 128 B\n",
                invoke("inspect", "a", *more).output,
            )
    assert '"classifier.weight": 128' in invoke("inspect", "a", "--json").stdout
