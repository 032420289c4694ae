"""Experts in one parameter: PEFT's pairs for them in and out, and what each of its releases meant by them."""

from __future__ import annotations

import json
import shutil

import pytest
import small_models
import torch
from canonical import read
from command_line import invoke, write_recipe
from safetensors.torch import load_file, save_file

from loramerge import load_adapter, load_base, read_recipe, run
from loramerge.errors import MismatchError, SourceError

pytestmark = pytest.mark.slow

SEEING = "Qwen3VLMoeForConditionalGeneration"
"""Its files have the axes of each expert's matrix the other way round."""
QWEN, MIXTRAL, GPT_OSS = "Qwen3MoeForCausalLM", "MixtralForCausalLM", "GptOssForCausalLM"
BOTH = ["experts.gate_up_proj", "experts.down_proj"]
ROUTERS = {QWEN: "gate.weight", MIXTRAL: "gate.weight", GPT_OSS: "router.weight", SEEING: "gate.weight"}
LAYERS = {  # of each expert, as transformers 4 has them
    QWEN: ("mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj", "mlp.experts.{}.down_proj"),
    MIXTRAL: ("block_sparse_moe.experts.{}.w1", "block_sparse_moe.experts.{}.w3", "block_sparse_moe.experts.{}.w2"),
}
EXPERTS = 4
WEIGHTS = {"a": 0.7, "b": -0.4}
ANOTHER_BASE = "choose the base that the LoRA was trained on, with --base or as `base: source:` of a recipe"


def stacked(class_name, folder, *, targets=BOTH, modules=("q_proj",), **settings):
    return small_models.lora(
        class_name, folder, target_modules=[*modules], target_parameters=[*targets], **{"rank": 2, **settings}
    )


def with_weights(class_name, folder):
    """A base as the Hub has it."""
    small_models.save(class_name, folder, weights=True)
    if class_name == SEEING:
        tensors = load_file(folder / "model.safetensors")
        turned = {key: each.mT.contiguous() if ".experts." in key else each for key, each in tensors.items()}
        save_file(turned, folder / "model.safetensors", metadata={"format": "pt"})


def deltas_of(adapter, component):
    """Every parameter of the model in memory that an adapter changes, in float64."""
    found = {}
    for _, module, pair in adapter:
        expert = component.of_experts.get(module)
        if expert is None:
            found[f"{component.live[module]}.weight"] = pair.delta()
            continue
        stack = component.stacks[expert.parameter]
        whole = found.setdefault(expert.parameter, torch.zeros(stack.shape, dtype=torch.float64))
        delta = pair.delta().T if stack.is_transposed else pair.delta()
        first = expert.place * stack.layer_shape[0]
        whole[expert.number, first : first + len(delta)] += delta
    return found


def assert_equal(got, want, tolerance=1e-6):
    norm = torch.cat([each.flatten() for each in want.values()]).norm()
    assert norm > 0
    for name in got.keys() | want.keys():
        zeros = torch.zeros_like(got.get(name, want.get(name)))
        assert (got.get(name, zeros) - want.get(name, zeros)).norm() <= tolerance * norm, name


@pytest.mark.parametrize("class_name", ROUTERS)
def test_each_expert_gets_what_peft_gives_it(tmp_path, class_name):
    base = load_base(small_models.save(class_name, tmp_path / "base"))
    stacked(class_name, tmp_path / "a", seed=1, targets=[*BOTH, ROUTERS[class_name]], lora_alpha=3)
    adapter = load_adapter(tmp_path / "a", base)
    assert_equal(deltas_of(adapter, base.components["model"]), small_models.deltas(class_name, tmp_path / "a"))
    assert adapter.equals(adapter.loaded())


@pytest.mark.parametrize("engine", ["factored", "peft"])
@pytest.mark.parametrize("class_name", ROUTERS)
def test_a_merge_is_the_weighted_sum_as_peft_loads_it_and_as_the_fused_model_has_it(
    tmp_path, monkeypatch, class_name, engine
):
    import transformers

    monkeypatch.chdir(tmp_path)
    with_weights(class_name, tmp_path / "base")
    stacked(class_name, tmp_path / "a", seed=1, targets=[*BOTH, ROUTERS[class_name]])
    stacked(
        class_name, tmp_path / "b", seed=2, targets=BOTH[1:], modules=["v_proj"], rank=3, use_rslora=True,
        rank_pattern={BOTH[1]: 1}, alpha_pattern={BOTH[1]: 5},
    )  # fmt: skip
    recipe = write_recipe(
        tmp_path, base="base", merge={"combination_type": "cat", "engine": engine},
        loras={name: {"source": name, "weight": weight} for name, weight in WEIGHTS.items()},
        outputs=[{"kind": "adapter", "format": "peft"}, {"kind": "model"}],
    )  # fmt: skip
    run(read_recipe(recipe), out=tmp_path / "out", device="cpu")
    parts = {name: small_models.deltas(class_name, tmp_path / name) for name in WEIGHTS}
    want = {key: sum(weight * parts[name][key] for name, weight in WEIGHTS.items()) for key in parts["a"]}
    assert_equal(small_models.deltas(class_name, tmp_path / "out/peft"), want)
    fused = getattr(transformers, class_name).from_pretrained(tmp_path / "out/model")
    before = dict(small_models.shared(class_name).named_parameters())
    changes = {name: (each.double() - before[name].double()).detach() for name, each in fused.named_parameters()}
    assert_equal(changes, want, 1e-5)
    config = json.loads((tmp_path / "out/peft/adapter_config.json").read_text())
    assert {name.rpartition("layers.0.mlp.")[2] for name in config["target_parameters"]} == {
        *BOTH, ROUTERS[class_name],
    }  # fmt: skip


def as_modules(class_name, folder, *, seed, experts=range(EXPERTS), rank=2):
    """A LoRA as transformers 4 and PEFT made it, with a pair for each expert's layers."""
    base = small_models.shared(class_name)
    width, inner = base.config.hidden_size, base.model.layers[0].mlp.experts.down_proj.shape[2]
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for expert in experts:
        for layer, (out, into) in zip(LAYERS[class_name], [(inner, width)] * 2 + [(width, inner)], strict=True):
            key = f"base_model.model.model.layers.0.{layer.format(expert)}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(rank, into, generator=generator)
            tensors[f"{key}.lora_B.weight"] = torch.randn(out, rank, generator=generator)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 3, "target_modules": ["gate_proj", "w1"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("class_name", LAYERS)
def test_loras_on_layers_of_experts_are_merged_with_those_on_parameters(tmp_path, monkeypatch, class_name):
    monkeypatch.chdir(tmp_path)
    base = load_base(small_models.save(class_name, tmp_path / "base"))
    component = base.components["model"]
    as_modules(class_name, tmp_path / "a", seed=1, experts=[0, 2])
    stacked(class_name, tmp_path / "b", seed=2)
    recipe = write_recipe(
        tmp_path, base="base", outputs=[{"kind": "adapter", "format": "peft"}],
        loras={name: {"source": name, "weight": weight} for name, weight in WEIGHTS.items()},
    )  # fmt: skip
    done = run(read_recipe(recipe), out=tmp_path / "out", device="cpu")
    filled, apart = [note.removeprefix("output peft: ") for note in done.warnings if "output peft" in note]
    # Of the first LoRA two experts of four have a pair; where its layers are put together its rank is twice as much.
    inner, outer = {QWEN: 8, MIXTRAL: 12}[class_name], 16
    widths = outer + 2 * inner, outer + inner
    zeros, size = 2 * 6 * widths[0] + 2 * 2 * widths[1], 4 * 8 * widths[0] + 4 * 4 * widths[1]
    assert filled.startswith(f"{zeros:,} of the {size:,} numbers for experts are zeros")
    assert apart.startswith("model.layers.0.mlp.experts.gate_up_proj: layers that were merged apart are one")
    parts = {name: deltas_of(load_adapter(tmp_path / name, base), component) for name in WEIGHTS}
    want = {
        key: sum(weight * parts[name].get(key, torch.zeros(())) for name, weight in WEIGHTS.items())
        for key in parts["a"] | parts["b"]
    }
    found = small_models.deltas(class_name, tmp_path / "out/peft")
    assert_equal({name: each for name, each in found.items() if each.any()}, want)


@pytest.mark.parametrize("class_name", LAYERS)
def test_what_was_trained_on_a_parameter_keeps_its_rank(tmp_path, class_name):
    """Both parts of `gate_up_proj` read with one `down`."""
    base = load_base(small_models.save(class_name, tmp_path / "base"))
    stacked(class_name, tmp_path / "a", seed=1)
    adapter = load_adapter(tmp_path / "a", base)
    assert len([module for _, module, _ in adapter if "experts.3." in module]) == 3
    recipe = write_recipe(tmp_path, base=str(tmp_path / "base"), loras={"a": {"source": str(tmp_path / "a")}},
                          outputs=[{"kind": "inputs"}])  # fmt: skip
    run(read_recipe(recipe), out=tmp_path / "out", device="cpu")
    before, after = (
        load_file(folder / "adapter_model.safetensors") for folder in (tmp_path / "a", tmp_path / "out/inputs/a")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())


def in_the_other_layout(folder, version, *, only=""):
    """The same adapter as PEFT would have saved it that took the other axis for what goes in."""
    tensors = load_file(folder / "adapter_model.safetensors")
    down = [key for key in tensors if ".experts." in key and ".lora_A." in key and only in key]
    for key in down:
        first, second = tensors[key], tensors[key.replace("lora_A", "lora_B")]
        rank = len(first) // EXPERTS
        # experts×rank×in and experts×out×rank, of which each takes the other's place.
        halves = first.reshape(EXPERTS, rank, -1), second.reshape(len(second), rank, EXPERTS).permute(2, 0, 1)
        tensors[key] = halves[1].transpose(1, 2).flatten(0, 1).contiguous()
        tensors[key.replace("lora_A", "lora_B")] = halves[0].permute(2, 1, 0).flatten(1).contiguous()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    config["peft_version"] = version
    (folder / "adapter_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("class_name", "version"), [(QWEN, "0.18.1"), (MIXTRAL, "0.19.0"), (GPT_OSS, "0.19.0"), (QWEN, None)]
)
def test_the_layout_of_earlier_releases_is_told_by_shapes(tmp_path, class_name, version):
    base = load_base(small_models.save(class_name, tmp_path / "base"))
    want = small_models.deltas(class_name, stacked(class_name, tmp_path / "a", seed=1))
    in_the_other_layout(tmp_path / "a", version)
    assert_equal(deltas_of(load_adapter(tmp_path / "a", base), base.components["model"]), want)


SQUARE = {QWEN: "experts.gate_up_proj", GPT_OSS: "experts.down_proj"}


@pytest.mark.parametrize(
    ("class_name", "version", "is_other"),
    [
        (QWEN, "0.17.0", True), (QWEN, "0.19.0", True), (QWEN, "0.19.1", False), (QWEN, "0.21.2", False),
        (GPT_OSS, "0.18.0", False), (GPT_OSS, "0.19.1", False), (GPT_OSS, "0.20.0.dev0", False),
    ],
)  # fmt: skip
def test_of_square_matrices_the_version_tells_it(tmp_path, class_name, version, is_other):
    base = load_base(small_models.save(class_name, tmp_path / "base"))
    folder = stacked(class_name, tmp_path / "a", seed=1, targets=[SQUARE[class_name]])
    want = small_models.deltas(class_name, folder)
    in_the_other_layout(folder, version, only=".lora" if is_other else "nothing")
    adapter = load_adapter(folder, base)
    assert_equal(deltas_of(adapter, base.components["model"]), want)
    # The classes of transformers 4 don't say that their axes are the other way round, and 0.18 did not ask them.
    doubtful = class_name == GPT_OSS and version != "0.18.0"
    assert any("trained with transformers 4 would be the transpose" in note for note in adapter.notes) is doubtful


def test_of_square_matrices_those_beside_them_tell_it(tmp_path):
    base = load_base(small_models.save(GPT_OSS, tmp_path / "base"))
    want = small_models.deltas(GPT_OSS, stacked(GPT_OSS, tmp_path / "a", seed=1))
    in_the_other_layout(tmp_path / "a", None)
    assert_equal(deltas_of(load_adapter(tmp_path / "a", base), base.components["model"]), want)


@pytest.mark.parametrize(
    ("class_name", "version", "said"),
    [(QWEN, None, "no peft_version"), (GPT_OSS, "0.19.0", "peft_version 0.19.0"), (QWEN, "new", "no peft_version")],
)
def test_square_matrices_of_which_nothing_tells_it_are_refused(tmp_path, class_name, version, said):
    base = load_base(small_models.save(class_name, tmp_path / "base"))
    in_the_other_layout(stacked(class_name, tmp_path / "a", seed=1, targets=[SQUARE[class_name]]), version)
    with pytest.raises(SourceError, match="nothing says which of their axes is which") as caught:
        load_adapter(tmp_path / "a", base)
    assert said in caught.value.message
    assert "PEFT 0.19.1" in caught.value.hint


def changed(folder, *, config=None, tensors=None):
    """The adapter with other settings, or other tensors."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | (config or {})))
    if tensors:
        save_file(tensors(load_file(folder / "adapter_model.safetensors")), folder / "adapter_model.safetensors")


def without(part):
    return lambda tensors: {key: each for key, each in tensors.items() if part not in key}


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"tensors": without("experts.base_layer.lora_B")}, SourceError, "base_layer.lora_A.weight has no other"),
        ({"tensors": without("experts.lora_")}, SourceError, "layers.0.mlp.experts.down_proj has no pair"),
        ({"tensors": without("experts.base_layer.lora_")}, SourceError, "has pairs for 1 of the parameters of"),
        ({"config": {"target_parameters": ["experts.down_proj"]}}, SourceError, "names model.layers.0.mlp.experts."),
        ({"config": {"target_parameters": "experts"}}, SourceError, "target_parameters should be a list of names"),
        ({"config": {"target_parameters": None, "r": 7}}, SourceError, "has rank 2, adapter_config.json says 7"),
        (
            {"tensors": lambda old: {key: each[:7] if "experts.lora_A" in key else each for key, each in old.items()}},
            MismatchError,
            "down_proj of the base is 4×16×8",
        ),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_refused(tmp_path, change, error, said):
    base = load_base(small_models.save(QWEN, tmp_path / "base"))
    changed(stacked(QWEN, tmp_path / "a", seed=1), **change)
    with pytest.raises(error) as caught:
        load_adapter(tmp_path / "a", base)
    assert said in caught.value.message


def test_a_share_under_its_own_name_as_well_is_refused(tmp_path):
    base = load_base(small_models.save(QWEN, tmp_path / "base"))
    stacked(QWEN, tmp_path / "a", seed=1)
    name = "base_model.model.model.layers.0.mlp.experts.down_proj.1.lora_A.weight"
    changed(tmp_path / "a", tensors=lambda all_: {**all_, name: torch.ones(2, 8)})
    with pytest.raises(SourceError, match=r"experts.lora_A.weight and .*down_proj.1.lora_A.weight are the same tensor"):
        load_adapter(tmp_path / "a", base)


def test_numbers_that_are_none_are_told_by_the_key_in_the_file(tmp_path):
    base = load_base(small_models.save(QWEN, tmp_path / "base"))
    stacked(QWEN, tmp_path / "a", seed=1)
    key = "base_model.model.model.layers.0.mlp.experts.lora_B.weight"
    changed(tmp_path / "a", tensors=lambda all_: {**all_, key: all_[key].index_fill(1, torch.tensor([6]), torch.nan)})
    with pytest.raises(SourceError, match=r"experts.lora_B.weight \(expert 2\) holds NaN"):
        load_adapter(tmp_path / "a", base)


def test_names_without_peft_s_wrapper_are_read_too(tmp_path):
    base = load_base(small_models.save(QWEN, tmp_path / "base"))
    whole = load_adapter(stacked(QWEN, tmp_path / "a", seed=1), base)
    changed(tmp_path / "a", tensors=lambda all_: {
        key.removeprefix("base_model.model."): each for key, each in all_.items()})  # fmt: skip
    assert load_adapter(tmp_path / "a", base).equals(whole)


DENSE = {  # layers that are called as those of experts, and are none
    QWEN: ["layers.1.mlp.gate_proj", "layers.1.mlp.up_proj", "layers.1.mlp.down_proj"],
    "DeepseekV3ForCausalLM": [
        *(f"layers.0.mlp.{name}_proj" for name in ("gate", "up", "down")),
        *(f"layers.1.mlp.shared_experts.{name}_proj" for name in ("gate", "up", "down")),
    ],
}


@pytest.mark.parametrize("parts", ["some", "all", "with experts"])
@pytest.mark.parametrize("class_name", DENSE)
def test_dense_and_shared_layers_beside_experts_are_not_taken_for_experts(tmp_path, monkeypatch, class_name, parts):
    """PEFT takes `gate_proj` among `target_modules` for the experts', and loses what there is of others."""
    import warnings

    from peft import PeftModel

    monkeypatch.chdir(tmp_path)
    small_models.save(class_name, tmp_path / "base")
    names = DENSE[class_name][:1] if parts == "some" else DENSE[class_name]
    weights = [f"{name}.weight" for name in names] + (BOTH if parts == "with experts" else [])
    patterns = {f"{names[0]}.weight".replace(".", "\\."): 3}
    stacked(class_name, tmp_path / "a", seed=1, targets=weights, rank_pattern=patterns, alpha_pattern=patterns)
    loras = {"a": {"source": "a", "weight": 0.5}}
    recipe = write_recipe(tmp_path, base="base", loras=loras, outputs=[{"kind": "adapter", "format": "peft"}])
    run(read_recipe(recipe), out=tmp_path / "out", device="cpu")
    want = {key: 0.5 * each for key, each in small_models.deltas(class_name, tmp_path / "a").items()}
    assert all(want[f"model.{name}.weight"].any() for name in names)
    assert_equal(small_models.deltas(class_name, tmp_path / "out/peft"), want)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        PeftModel.from_pretrained(small_models.built(class_name), tmp_path / "out/peft")
    assert not [str(each.message) for each in said if "missing adapter keys" in str(each.message)]


def test_what_is_converted_or_written_by_itself_says_it_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_models.save(QWEN, tmp_path / "base")
    as_modules(QWEN, tmp_path / "a", seed=1, experts=[1, 2])
    for command in (
        ["convert", "a", "--base", "base", "--format", "peft", "-o", "c"],
        ["resize", "a", "--base", "base", "--rank", "1", "-o", "r"],
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
        assert "numbers for experts are zeros" in done.output, command
    recipe = write_recipe(tmp_path, base="base", loras={"a": {"source": "a"}}, outputs=[{"kind": "inputs"}])
    done = run(read_recipe(recipe), out=tmp_path / "out", device="cpu")
    assert any(note.startswith("output inputs, a: ") and "are zeros" in note for note in done.warnings)


def test_an_expert_that_the_base_lacks_is_none_of_its_modules(tmp_path):
    base = load_base(small_models.save(QWEN, tmp_path / "base"))
    as_modules(QWEN, tmp_path / "a", seed=1, experts=[0, 9])
    with pytest.raises(MismatchError, match=r"experts.9.down_proj is 16×8, the base has no such module") as caught:
        load_adapter(tmp_path / "a", base)
    assert caught.value.hint.startswith("choose the base that the LoRA was trained on")


@pytest.mark.parametrize("lacks", ["one", "all"])
def test_a_base_that_lacks_experts_is_told(tmp_path, monkeypatch, lacks):
    monkeypatch.chdir(tmp_path)
    small_models.save(QWEN, tmp_path / "base", weights=True)
    path = tmp_path / "base/model.safetensors"
    gone = "experts.2.up_proj" if lacks == "one" else ".experts."
    save_file({key: each for key, each in load_file(path).items() if gone not in key}, path, metadata={"format": "pt"})
    stacked(QWEN, tmp_path / "a", seed=1)
    recipe = write_recipe(tmp_path, base="base", loras={"a": {"source": "a"}}, outputs=[{"kind": "model"}])
    said = r"base lacks model\..*experts\.2\.up_proj\.weight" if lacks == "one" else "other names than its class"
    with pytest.raises(SourceError, match=said):
        run(read_recipe(recipe), out=tmp_path / "out", device="cpu")


def test_settings_that_name_no_parameters_mean_all_of_them(tmp_path):
    base = load_base(small_models.save(QWEN, tmp_path / "base"))
    want = small_models.deltas(QWEN, stacked(QWEN, tmp_path / "a", seed=1))
    changed(tmp_path / "a", config={"target_parameters": None})
    assert_equal(deltas_of(load_adapter(tmp_path / "a", base), base.components["model"]), want)


@pytest.mark.parametrize("modules", [["q_proj"], []])
def test_a_lora_of_an_inner_model_is_read_as_the_whole_ones(tmp_path, modules):
    """As one of a language model that is a part of a model that sees."""
    base = load_base(small_models.save(SEEING, tmp_path / "base"))
    whole = load_adapter(stacked(SEEING, tmp_path / "a", seed=1, modules=modules, targets=BOTH), base)
    changed(tmp_path / "a", tensors=lambda all_: {
        key.replace("model.language_model.layers", "layers"): each for key, each in all_.items()})  # fmt: skip
    inner = load_adapter(tmp_path / "a", base)
    assert len(inner) > 1
    assert inner.equals(whole)
    assert any("is read as model.language_model.layers.0." in note for note in inner.notes)


def test_numbers_that_are_read_are_nobody_elses(tmp_path):
    base = load_base(small_models.save(QWEN, tmp_path / "base"))
    adapter = read(stacked(QWEN, tmp_path / "a", seed=1), base)
    pair = adapter.components["model"]["model.layers.0.mlp.experts.1.down_proj"]
    before = pair.down.clone()
    pair.down.zero_()
    assert torch.equal(pair.down, before)


def test_a_lora_on_biases_of_experts_is_refused(tmp_path):
    base = load_base(small_models.save(GPT_OSS, tmp_path / "base"))
    stacked(GPT_OSS, tmp_path / "a", seed=1, targets=["experts.gate_up_proj", "experts.down_proj_bias"])
    with pytest.raises(SourceError, match=r"on model.layers.0.mlp.experts.down_proj_bias, which is no matrix"):
        load_adapter(tmp_path / "a", base)


def test_experts_of_another_base_are_refused(tmp_path):
    stacked(QWEN, tmp_path / "a", seed=1)
    small_models.save(QWEN, tmp_path / "other")
    config = json.loads((tmp_path / "other/config.json").read_text())
    (tmp_path / "other/config.json").write_text(json.dumps(config | {"num_local_experts": 3}))
    with pytest.raises(MismatchError, match="down_proj of the base is 3×16×8") as caught:
        load_adapter(tmp_path / "a", load_base(tmp_path / "other"))
    assert caught.value.hint == ANOTHER_BASE
    with pytest.raises(
        MismatchError, match=r"on experts that lie in one parameter .*, and the base has no such"
    ) as caught:
        load_adapter(tmp_path / "a", load_base(small_models.save("LlamaForCausalLM", tmp_path / "llama")))
    assert caught.value.hint == ANOTHER_BASE


def test_where_no_base_is_known_the_settings_are_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stacked(QWEN, tmp_path / "a", seed=1, trained_on="Qwen/Qwen3-30B-A3B")
    done = invoke("inspect", "a")
    assert done.exit_code == 5
    assert "no base is known that says how many there are" in done.output
    assert "--base or as `base: source:` of a recipe: its settings name Qwen/Qwen3-30B-A3B" in done.output
    small_models.save(QWEN, tmp_path / "base")
    assert "model.layers.0.mlp.experts." in invoke("inspect", "a", "--base", "base").output


def test_a_dora_on_an_expert_is_fused_and_never_written_for_peft(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_models.save(QWEN, tmp_path / "base", weights=True)
    as_modules(QWEN, tmp_path / "a", seed=1, experts=[1])
    tensors = load_file(tmp_path / "a/adapter_model.safetensors")
    for key in [*tensors]:
        if ".lora_B." in key:
            magnitude = 1 + torch.rand(len(tensors[key]))
            tensors[key.replace("lora_B.weight", "lora_magnitude_vector.weight")] = magnitude
    save_file(tensors, tmp_path / "a/adapter_model.safetensors")
    changed(tmp_path / "a", config={"use_dora": True})
    cat = {"combination_type": "cat", "engine": "factored"}
    loras = {"a": {"source": "a", "weight": 0.5, "dora": True}}
    peft = [{"kind": "adapter", "format": "peft"}]
    recipe = write_recipe(tmp_path, base="base", loras=loras, merge=cat, outputs=peft)
    with pytest.raises(
        MismatchError, match=r"takes model\.layers\.0\.mlp\.experts\.1\.down_proj for a parameter, and has no DoRA"
    ):
        run(read_recipe(recipe), out=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
    recipe = write_recipe(tmp_path, base="base", loras=loras, merge=cat, outputs=[{"kind": "model"}])
    run(read_recipe(recipe), out=tmp_path / "out", device="cpu")
    before, after = (load_file(tmp_path / folder / "model.safetensors") for folder in ("base", "out/model"))
    for layer in LAYERS[QWEN]:
        name = f"model.layers.0.{layer.format(1)}"
        down, up, magnitude = (
            tensors[f"base_model.model.{name}.lora_{end}"].double()
            for end in ("A.weight", "B.weight", "magnitude_vector.weight")
        )
        weight = before[f"{name}.weight"].double()
        total = weight + 1.5 * up @ down
        want = weight + 0.5 * (magnitude[:, None] * total / total.norm(dim=1, keepdim=True) - weight)
        assert torch.allclose(after[f"{name}.weight"].double(), want, atol=1e-5)


@pytest.mark.parametrize("class_name", [QWEN, GPT_OSS, SEEING])
def test_a_lora_is_extracted_from_experts(tmp_path, monkeypatch, class_name):
    """Whether the files have a layer for each expert, as those of Qwen3, or one parameter, as those of gpt-oss."""
    monkeypatch.chdir(tmp_path)
    with_weights(class_name, tmp_path / "base")
    stacked(class_name, tmp_path / "a", seed=1)
    recipe = write_recipe(
        tmp_path, base="base", loras={"a": {"source": "a", "weight": 1.0}}, outputs=[{"kind": "model"}]
    )
    run(read_recipe(recipe), out=tmp_path / "out", device="cpu")
    shutil.copytree(tmp_path / "out/model", tmp_path / "tuned")
    done = invoke("extract", "tuned", "base", "--rank", "2", "-o", "found", "--format", "peft")
    assert done.exit_code == 0, done.output
    found = small_models.deltas(class_name, tmp_path / "found")
    assert_equal(found, small_models.deltas(class_name, tmp_path / "a"), 1e-4)
