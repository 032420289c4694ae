"""Rules for parts of a model: what each of them merges, and what is said of it."""

from __future__ import annotations

import json

import foreign
import pytest
import tiny
import truth
from canonical import adapter_of, base_of, deltas_of
from command_line import invoke, write_recipe
from pydantic import TypeAdapter

from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.merging.matching import matching
from loramerge.methods import Merge
from loramerge.recipe import read as read_recipe
from loramerge.stages.combine import WeightedAdapter, combine
from loramerge.stages.run import run

pytestmark = pytest.mark.slow

WEIGHTS = (0.7, -0.8)


def method(combination_type, *parts, **parameters):
    given = {"combination_type": combination_type, "engine": "factored", **parameters}
    return TypeAdapter(Merge).validate_python(given | ({"parts": list(parts)} if parts else {}))


def rule(match, combination_type, **parameters):
    return {"match": match, "combination_type": combination_type, **parameters}


def take(match, *loras):
    return rule(match, "take", loras=list(loras))


def loras(**options):
    options = {"conv_rank": 2, "conv_alpha": 1.0} | options
    return [
        foreign.random_lora(tiny.shared("sd15"), rank=rank, alpha=2.0 + seed, seed=seed, **options)
        for seed, rank in enumerate((4, 3))
    ]


def weighted(pairs, weights=WEIGHTS):
    return [
        WeightedAdapter(name, adapter_of(lora), weight) for name, lora, weight in zip("ab", pairs, weights, strict=True)
    ]


def only(deltas, keep):
    found = {
        component: {module: delta for module, delta in modules.items() if keep(component, module)}
        for component, modules in deltas.items()
    }
    return {component: modules for component, modules in found.items() if modules}


def test_every_part_is_merged_by_its_own_rule():
    pairs = weighted(loras())
    chosen = method("cat", rule("mid", "tsv", svd_rank="sum"), rule(["up", "text_encoder"], "iso_c", svd_rank=3))
    merged = combine(pairs, base_of("sd15"), chosen)
    by_one = {
        each.combination_type: deltas_of(combine(pairs, base_of("sd15"), each).adapter)
        for each in (method("cat"), method("tsv", svd_rank="sum"), method("iso_c", svd_rank=3))
    }
    base = base_of("sd15")
    mid, up, text = (matching("here", match, base) for match in ("mid", "up", "text_encoder"))
    is_part = {"tsv": mid, "iso_c": lambda *place: up(*place) or text(*place)}
    places = [(component, module) for component, module, _ in merged.adapter]
    assert all(any(meant(*place) for place in places) for meant in is_part.values())
    is_part["cat"] = lambda *place: not (mid(*place) or up(*place) or text(*place))
    got = deltas_of(merged.adapter)
    for combination_type, meant in is_part.items():
        assert truth.relative_error(only(got, meant), only(by_one[combination_type], meant)) <= 1e-6
    assert sum(division.modules for division in merged.divisions) == len(places)
    assert [division.match for division in merged.divisions] == [(), ("mid",), ("up", "text_encoder")]


def test_taking_blocks_from_one_lora_and_the_rest_from_the_other_is_weights_by_block():
    pairs = loras(components=("unet",))
    chosen = method("cat", take("down", "a"), take(["mid", "up", "other"], "b"))
    merged = combine(weighted(pairs), base_of("sd15"), chosen)
    by_weights = [
        {"unet": {"down": 0.7, "mid": 0.0, "up": 0.0, "other": 0.0}},
        {"unet": {"down": 0.0, "mid": -0.8, "up": -0.8, "other": -0.8}},
    ]
    want = combine(weighted(pairs, by_weights), base_of("sd15"), method("cat"))
    assert truth.relative_error(deltas_of(merged.adapter), deltas_of(want.adapter)) <= 1e-6
    assert any(note.startswith("`down`: only a counts there") for note in merged.notes)
    assert all(entry.error <= 1e-6 for entry in merged.fidelity["unet"].values())


@pytest.mark.parametrize("engine", ["peft", "factored"])
def test_either_engine_merges_parts(engine):
    pairs = weighted(loras(few=True))
    chosen = method("cat", rule("text_encoder", "svd", svd_rank="sum", engine=engine), engine=engine)
    want = combine(pairs, base_of("sd15"), method("cat"))
    got = combine(pairs, base_of("sd15"), chosen)
    assert truth.relative_error(deltas_of(got.adapter), deltas_of(want.adapter)) <= 1e-6


def test_a_lora_that_counts_nowhere_leaves_the_other_as_it_is():
    """What one LoRA alone brings is no merge of one LoRA: the other was there, and the rule had nothing to do."""
    pairs = loras(few=True, components=("unet",))
    merged = combine(weighted(pairs), base_of("sd15"), method("cat", take("unet", "a")))
    want = combine(weighted(pairs, (0.7, 0.0)), base_of("sd15"), method("cat"))
    assert truth.relative_error(deltas_of(merged.adapter), deltas_of(want.adapter)) <= 1e-6


def test_a_lora_that_is_called_after_another_and_a_component_is_not_taken_with_it():
    pairs = [
        WeightedAdapter(name, each.adapter, 1.0)
        for name, each in zip(("ink", "ink-unet"), weighted(loras(components=("unet",))), strict=True)
    ]
    merged = combine(pairs, base_of("sd15"), method("cat", take("mid", "ink")))
    there = [found for module, found in merged.fidelity["unet"].items() if module.startswith("mid_block.attentions.0.")]
    assert {tuple(found.ranks) for found in there} == {("ink",)}
    assert any(note.startswith("`mid`: only ink counts there") for note in merged.notes)


def test_masks_are_those_of_the_module_whatever_else_is_merged():
    pairs = weighted(loras(few=True))
    whole = combine(pairs, base_of("sd15"), method("della", density=0.5, seed=5))
    part = combine(pairs, base_of("sd15"), method("cat", rule("text_encoder", "della", density=0.5, seed=5)))
    one, other = (deltas_of(each.adapter)["text_encoder"] for each in (whole, part))
    assert truth.relative_error({"text_encoder": one}, {"text_encoder": other}) == 0


MATCHES = {
    "unet": lambda name: name.startswith("unet."),
    "mid": lambda name: name.startswith("unet.mid_block.attentions.0."),
    "unet.mid": lambda name: name.startswith("unet.mid_block.attentions.0."),
    "down.block_0": lambda name: name.startswith("unet.down_blocks.0.") and "downsamplers.1" not in name,
    "text_encoder.attention": lambda name: name.startswith("text_encoder.") and "self_attn" in name,
    "text_encoder.mlp": lambda name: name.startswith("text_encoder.") and ".mlp." in name,
}


@pytest.mark.parametrize("match", MATCHES)
def test_a_match_means_what_weights_by_block_mean(match):
    base = base_of("sd15")
    meant = matching("here", match, base)
    names = [(component, module) for component, found in base.components.items() for module in found.modules]
    got = {f"{component}.{module}" for component, module in names if meant(component, module)}
    assert got
    assert all(map(MATCHES[match], got))


def test_blocks_of_a_transformer_are_named_by_list_and_range():
    base = architecture("wan/1.3b")
    modules = base.components["transformer"].modules
    for match, blocks in (("blocks", range(30)), ("transformer.blocks.0-9", range(10)), ("blocks.12", [12])):
        meant = matching("here", match, base)
        got = {name.split(".")[1] for name in modules if meant("transformer", name)}
        assert got == {str(block) for block in blocks}
    with pytest.raises(
        MismatchError, match=r"here: transformer.blocks.25-40: the base has no 30-40 there; it has 0-29"
    ):
        matching("here", "blocks.25-40", base)
    with pytest.raises(MismatchError, match=r"nothing that is called 'block\.3'; did you mean 'blocks'"):
        matching("here", "block.3", base)


REFUSED = {
    "an unknown name": ([rule("middle", "svd")], "nothing that is called 'middle'; did you mean 'mid'?"),
    "an unknown component": ([rule("text_encoder_2", "svd")], "'text_encoder_2'; did you mean 'text_encoder'?"),
    "an unknown block": ([rule("down.block_7", "svd")], "its down blocks with it are block_0"),
    "a block that is none": ([rule("down.attentions", "svd")], "nothing that is called 'down.attentions'"),
    "two rules for one module": (
        [rule("down", "svd"), rule("unet", "tsv")], "is in `down` and in `unet`; a module has one rule"
    ),
    "nothing of the LoRA there": ([take("text_encoder", "b")], "no module of b is in `text_encoder`"),
    "nothing of any LoRA there": ([rule(["down", "mid"], "svd")], "no LoRA touches `mid`, so nothing is merged there"),
    "a mean of one": ([rule("up", "karcher")], None),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_parts_can_not_mean_is_refused(case):
    parts, message = REFUSED[case]
    pairs = loras(few=True)
    del pairs[1]["text_encoder"]
    if message is None:
        pairs, message = pairs[:1], "merges two or more LoRAs, and only a weighs anything"
        given = [WeightedAdapter("a", adapter_of(pairs[0]), 1.0)]
    else:
        given = weighted(pairs)
    with pytest.raises(MismatchError) as error:
        combine(given, base_of("sd15"), method("cat", *parts))
    assert message in error.value.message
    assert error.value.exit_code == 5


def recipe(tmp_path, *parts, **options):
    sources = {
        name: foreign.write_diffusers(lora, tmp_path / f"{name}.safetensors")
        for name, lora in zip("ab", loras(few=True, **options), strict=True)
    }
    merge = {"combination_type": "cat", "engine": "factored", "parts": list(parts)}
    return write_recipe(tmp_path, base=tiny.folder("sd15"), loras=sources, merge=merge)


def test_the_papers_of_an_artifact_say_which_rule_each_part_got(tmp_path):
    path = recipe(tmp_path, rule("up", "tsv", svd_rank="sum"), take("text_encoder", "b"))
    result = run(read_recipe(path), out=tmp_path / "out")
    report = json.loads((result.artifact / "report.json").read_text())
    assert [(part["match"], part["combination_type"]) for part in report["parts"]] == [
        ([], "cat"), (["up"], "tsv"), (["text_encoder"], "take"),
    ]  # fmt: skip
    modules = sum(len(part["modules"]) for part in report["fidelity"].values())
    assert sum(part["modules"] for part in report["parts"]) == modules
    card = (result.artifact / "README.md").read_text()
    assert (
        'Merged by `cat`; `up` by `tsv` with `svd_rank: "sum"`; `text_encoder` by `take` with `loras: ["b"]`.' in card
    )
    provenance = json.loads((result.artifact / "provenance.json").read_text())
    given = provenance["predicate"]["buildDefinition"]["externalParameters"]["recipe"]["merge"]["parts"]
    assert [part["combination_type"] for part in given] == ["tsv", "take"]


def test_a_match_that_the_base_does_not_have_is_shown_where_it_stands(tmp_path):
    path = recipe(tmp_path, rule("up", "svd"), rule("middel", "tsv"))
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "middel" in text)
    done = invoke("run", path, "--out", tmp_path / "out")
    assert done.exit_code == 5
    assert f"{path.name}:{line}:" in done.stderr
    assert "merge.parts.1.match: the base has nothing that is called 'middel'; did you mean 'mid'?" in done.stderr
    assert not (tmp_path / "out").exists()
