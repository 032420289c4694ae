"""`kind: model` of a model of transformers: what it loads is what PEFT merges into the loaded model."""

import json

import pytest
import small_models
import torch
from command_line import invoke, write_recipe
from safetensors.torch import load_file, save_file

from loramerge import read_recipe, run
from loramerge.errors import ExitCode, MismatchError, SourceError
from loramerge.stages.together import claims_of

pytestmark = pytest.mark.slow

LLAMA = "LlamaForCausalLM"
MODEL = ({"kind": "model"}, {"kind": "adapter", "format": "peft"})


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder for a base, two LoRAs and what becomes of them."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(here, class_name, outputs=MODEL, publish=(), **settings):
    small_models.save(class_name, here / "base", weights=True)
    for seed, name in enumerate("ab"):
        small_models.lora(class_name, here / name, seed=seed, **settings)
    loras = {"a": {"source": "a", "weight": 0.7}, "b": {"source": "b", "weight": -0.4}}
    return write_recipe(here, base="base", loras=loras, outputs=list(outputs), publish=list(publish))


def loaded(class_name, folder):
    import transformers

    return getattr(transformers, class_name).from_pretrained(folder).state_dict()


@pytest.mark.parametrize("class_name", small_models.CONFIGS)
def test_transformers_loads_what_peft_merges(here, class_name):
    run(read_recipe(recipe(here, class_name)), out=here / "out", device="cpu")
    want = small_models.weights_with(class_name, here / "out" / "peft")
    have = loaded(class_name, here / "out" / "model")
    before = loaded(class_name, here / "base")
    assert have.keys() == want.keys()
    changed = {name for name in have if not torch.equal(have[name], before[name])}
    assert len(changed) >= 2
    for name, tensor in have.items():
        assert torch.allclose(tensor.double(), want[name], rtol=1e-6, atol=1e-7), name
    names = {each.name for each in (here / "base").iterdir()}
    assert {each.name for each in (here / "out" / "model").iterdir()} == names


def test_shards_and_a_dtype_of_its_own(here):
    outputs = [{"kind": "model", "dtype": "bfloat16", "max_shard_size": "5KB"}]
    run(read_recipe(recipe(here, LLAMA, outputs)), out=here / "out", device="cpu")
    folder = here / "out" / "model"
    assert len([*folder.glob("model-*-of-*.safetensors")]) > 1
    assert (folder / "model.safetensors.index.json").is_file()
    settings = json.loads((folder / "config.json").read_text())
    assert "bfloat16" in {settings.get("dtype"), settings.get("torch_dtype")}
    assert {tensor.dtype for tensor in loaded(LLAMA, folder).values()} == {torch.bfloat16}


def test_the_card_loads_it_and_it_is_made_again(here):
    done = invoke("run", recipe(here, LLAMA))
    assert done.exit_code == ExitCode.DONE, done.output
    card = (here / "dist" / "small" / "README.md").read_text()
    assert "### transformers, without any LoRA: `model`" in card
    assert 'model = AutoModelForCausalLM.from_pretrained("model")' in card
    again = invoke("verify", here / "dist" / "small", "--rebuild", "--recipe", here / "small.yaml")
    assert again.exit_code == ExitCode.DONE, again.output


def test_a_head_that_is_the_embedding_is_not_fused_into(here):
    path = recipe(here, "GemmaForCausalLM", target_modules=["q_proj", "lm_head"])
    for name in "ab":
        file = here / name / "adapter_model.safetensors"
        pairs = {key: each for key, each in load_file(file).items() if ".lora_" in key}  # PEFT saves the head as well
        save_file(pairs, file, metadata={"format": "pt"})
    with pytest.raises(MismatchError, match=r"lm_head has the weights of the embedding \(`tie_word_embeddings`\)"):
        run(read_recipe(path), out=here / "out", device="cpu")
    assert not (here / "out").exists()


def test_a_file_of_others_in_its_place_is_seen_before_anything_is_merged(here):
    publish = [{"kind": "folder", "path": "there", "outputs": ["model"]}]
    path = recipe(here, LLAMA, [{"kind": "model"}], publish=publish)
    (here / "there").mkdir()
    (here / "there" / "config.json").write_text("{}")
    planned = invoke("plan", path)
    assert "it holds config.json, which this recipe did not put there" in " ".join(planned.output.split())
    assert claims_of(read_recipe(path)) == {"model": ("config.json",)}


def test_a_base_without_weights_is_refused(here):
    path = recipe(here, LLAMA)
    (here / "base" / "model.safetensors").unlink()
    with pytest.raises(SourceError, match="has no weights"):
        run(read_recipe(path), out=here / "out", device="cpu")


def test_a_tensor_that_the_files_lack_is_named(here):
    path = recipe(here, LLAMA)
    file = here / "base" / "model.safetensors"
    tensors = load_file(file)
    key = next(name for name in tensors if "layers.1" in name and "q_proj" in name)
    del tensors[key]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(SourceError, match=f"has no tensor {key}"):
        run(read_recipe(path), out=here / "out", device="cpu")


@pytest.mark.parametrize("trained", [["lm_head"], ["embed_tokens"], ["lm_head", "embed_tokens"]], ids=str)
@pytest.mark.parametrize("class_name", ["LlamaForCausalLM", "GemmaForCausalLM"])
def test_what_was_trained_in_full_is_where_peft_puts_it(here, class_name, trained):
    """Gemma's head is its embedding as well; Llama's is not."""
    path = recipe(here, class_name, modules_to_save=trained)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (here / "b" / name).write_bytes((here / "a" / name).read_bytes())  # two that differ have no sum
    done = run(read_recipe(path), out=here / "out", device="cpu")
    want = small_models.weights_with(class_name, here / "out" / "peft")
    have = loaded(class_name, here / "out" / "model")
    assert have.keys() == want.keys()
    for name, tensor in have.items():
        assert torch.allclose(tensor.double(), want[name], rtol=1e-6, atol=1e-7), name
    untied = class_name.startswith("Gemma") and not torch.equal(
        want["lm_head.weight"], want["model.embed_tokens.weight"]
    )
    assert untied == any(
        "lm_head.weight (2,560 bytes) had the numbers of the embedding" in each for each in done.warnings
    )
    settings = json.loads((here / "out" / "model" / "config.json").read_text())
    assert (settings["tie_word_embeddings"] is False) == (untied or class_name.startswith("Llama"))


def test_an_embedding_of_two_encoders_is_not_untied(here, monkeypatch):
    name = "T5ForConditionalGeneration"
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 40}
    monkeypatch.setitem(small_models.CONFIGS, name, {**sizes, "decoder_start_token_id": 0})
    small_models.shared.cache_clear()
    path = recipe(here, name, target_modules=["q"], modules_to_save=["shared"])
    (here / "b" / "adapter_model.safetensors").write_bytes((here / "a" / "adapter_model.safetensors").read_bytes())
    with pytest.raises(MismatchError, match=r"shared\.weight is .* as well, and one of them alone was trained in full"):
        run(read_recipe(path), out=here / "out", device="cpu")
    assert not (here / "out").exists()


def test_a_head_that_the_base_lacks_is_added_and_rounding_is_said(here):
    name = "BertForSequenceClassification"
    outputs = [{"kind": "model", "dtype": "bfloat16"}, {"kind": "adapter", "format": "peft"}]
    path = recipe(here, name, outputs, modules_to_save=["classifier"])
    (here / "b" / "adapter_model.safetensors").write_bytes((here / "a" / "adapter_model.safetensors").read_bytes())
    file = here / "base" / "model.safetensors"
    tensors = {key: each for key, each in load_file(file).items() if not key.startswith("classifier")}
    save_file(tensors, file, metadata={"format": "pt"})
    done = run(read_recipe(path), out=here / "out", device="cpu")
    have = loaded(name, here / "out" / "model")["classifier.weight"]
    want = load_file(here / "a" / "adapter_model.safetensors")["base_model.model.classifier.weight"]
    assert torch.equal(have, want.to(torch.bfloat16))
    assert "output model: classifier.weight, trained in full, is F32 and written as BF16" in done.warnings
