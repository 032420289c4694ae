"""Types and spaces that PEFT does not have, all the way: from LoRAs of a base to an artifact's papers."""

from __future__ import annotations

import json

import foreign
import pytest
import tiny
import torch
import truth
from canonical import adapter_of, base_of, deltas_of
from command_line import write_recipe
from methods import papers
from pydantic import TypeAdapter

from loramerge.errors import UsageError
from loramerge.methods import Merge
from loramerge.recipe import read as read_recipe
from loramerge.stages.combine import WeightedAdapter, combine
from loramerge.stages.run import run

pytestmark = pytest.mark.slow

WEIGHTS = (0.7, -0.8)
PAPERS = {
    "tsv": ({}, papers.tsv),
    "iso_c": ({}, papers.iso_c),
    "iso_cts": ({"common_share": 0.5}, lambda *given: papers.iso_cts(*given, 0.5)),
    "karcher": ({}, papers.karcher),
    "nuslerp": ({}, papers.nuslerp),
    "breadcrumbs": ({"density": 0.6}, lambda deltas, weights, _: papers.breadcrumbs(deltas, weights, 0.6, 0.01)),
    "sce": ({"density": 0.4}, lambda deltas, weights, _: papers.sce(deltas, weights, 0.4)),
}


def method(combination_type, **parameters):
    return TypeAdapter(Merge).validate_python({"combination_type": combination_type, **parameters})


def loras(ranks=(4, 2)):
    pipeline = tiny.shared("sd15")
    return [
        foreign.random_lora(
            pipeline, rank=rank, alpha=2.0 + seed, conv_rank=rank - 1, conv_alpha=1.0, seed=seed, few=True
        )
        for seed, rank in enumerate(ranks)
    ]


def weighted(pairs):
    return [
        WeightedAdapter(f"lora{place}", adapter_of(lora), weight)
        for place, (lora, weight) in enumerate(zip(pairs, WEIGHTS, strict=True))
    ]


def truncated(matrix, rank):
    left, values, right = papers.svd(matrix, rank)
    return left @ torch.diag(values) @ right


@pytest.mark.parametrize("combination_type", PAPERS)
def test_a_type_on_a_base_is_what_its_paper_says_of_each_module(combination_type):
    pairs = loras()
    parameters, paper = PAPERS[combination_type]
    merged = combine(weighted(pairs), base_of("sd15"), method(combination_type, svd_rank="sum", **parameters)).adapter
    adapters, want = [adapter_of(lora) for lora in pairs], {}
    for component, module, pair in merged:
        there = [
            (adapter.components[component][module], weight)
            for adapter, weight in zip(adapters, WEIGHTS, strict=True)
            if module in adapter.components[component]
        ]
        deltas, ranks = [each.delta().flatten(1) for each, _ in there], [each.rank for each, _ in there]
        assert len(there) == 2
        found = paper(deltas, [weight for _, weight in there], ranks)
        want.setdefault(component, {})[module] = truncated(found, sum(ranks)).reshape(pair.shape)
    assert truth.relative_error(deltas_of(merged), want) <= 1e-6


@pytest.mark.parametrize("space", ["core", "knots"])
def test_linear_in_a_space_is_the_weighted_sum_at_any_ranks(space):
    pairs = loras()
    combined = combine(weighted(pairs), base_of("sd15"), method("linear", space=space))
    want = truth.weighted_sum([(foreign.deltas(lora), weight) for lora, weight in zip(pairs, WEIGHTS, strict=True)])
    assert truth.relative_error(deltas_of(combined.adapter), want) <= 1e-6
    assert combined.retained_energy == {"unet": {}, "text_encoder": {}}


@pytest.mark.parametrize(
    ("combination_type", "parameters", "said"),
    [("tsv", {}, "`combination_type: tsv`"), ("ties", {"density": 0.5, "space": "core"}, "`space: core`")],
)
def test_there_is_no_reference_for_what_peft_does_not_have(combination_type, parameters, said):
    with pytest.raises(UsageError, match=f"PEFT has no {said}"):
        combine(weighted(loras()), base_of("sd15"), method(combination_type, **parameters), reference=True)


def test_the_papers_of_an_artifact_name_type_space_and_seed(tmp_path):
    sources = {
        f"lora{place}": foreign.write_diffusers(lora, tmp_path / f"{place}.safetensors")
        for place, lora in enumerate(loras())
    }
    merge = {"combination_type": "della", "density": 0.5, "epsilon": 0.2, "seed": 7, "space": "core", "svd_rank": 3}
    path = write_recipe(tmp_path, base=tiny.folder("sd15"), loras=sources, merge=merge)
    result = run(read_recipe(path), out=tmp_path / "out")
    report = json.loads((result.artifact / "report.json").read_text())
    given = {"combination_type": "della", "engine": "factored", "space": "core", "epsilon": 0.2, "seed": 7}
    assert report["merge"] | given == report["merge"]
    card = (result.artifact / "README.md").read_text()
    assert "`della` with" in card
    assert '`space: "core"`' in card
    provenance = json.loads((result.artifact / "provenance.json").read_text())
    definition = provenance["predicate"]["buildDefinition"]
    assert definition["internalParameters"]["seed"] == 7
    assert definition["internalParameters"]["bytesDependOnEnvironment"] != []
    said = {key: value for key, value in report["merge"].items() if value is not None}
    assert definition["externalParameters"]["recipe"]["merge"] == said
    assert any("`della` drops values by design" in warning for warning in result.warnings)
