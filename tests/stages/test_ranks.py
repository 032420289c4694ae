"""Ranks that differ by module: chosen, reported, and written so that every reader finds them."""

import copy
import json
from functools import cache

import foreign
import pytest
import tiny
import truth
from canonical import adapter_of, base_of, deltas_of, read
from command_line import write_recipe
from pydantic import TypeAdapter

from loramerge import read_recipe, run
from loramerge.errors import LoramergeError, MismatchError, UsageError
from loramerge.formats import DiffusersOutput, KohyaOutput, PeftOutput
from loramerge.formats.labels import Labels
from loramerge.methods import Merge
from loramerge.stages.combine import WeightedAdapter, combine

pytestmark = pytest.mark.slow

ENERGY = {"energy": 0.8, "max": 6}


def loras(family="sdxl", ranks=(4, 6), conv_ranks=(3, 5), *, few=True):
    return [
        WeightedAdapter(
            f"lora{seed}",
            adapter_of(
                foreign.random_lora(
                    tiny.shared(family), rank=rank, alpha=2.0 + seed, conv_rank=conv, seed=seed, few=few
                )
            ),
            0.5 + seed,
        )
        for seed, (rank, conv) in enumerate(zip(ranks, conv_ranks, strict=True))
    ]


def merged(svd_rank, *, engine="factored", combination_type="svd", few=True, **options):
    density = {} if combination_type == "svd" else {"density": 0.6}
    chosen = TypeAdapter(Merge).validate_python(
        {"combination_type": combination_type, "svd_rank": svd_rank, "engine": engine, **density}
    )
    return combine(loras(few=few), base_of("sdxl"), chosen, device="cpu", **options)


@cache
def merged_whole():
    """A merge that touches every layer, with ranks that differ."""
    return merged(ENERGY, few=False).adapter


@pytest.mark.parametrize("engine", ["peft", "factored"])
def test_sum_is_the_sum_of_the_ranks_in_each_module_and_exact(engine):
    combined, given = merged("sum", engine=engine), loras()
    shapes = {(c, m): s for c, part in base_of("sdxl").components.items() for m, s in part.modules.items()}
    for component, module, pair in combined.adapter:
        ranks = [each.adapter.components[component][module].rank for each in given]
        out, *inner = shapes[component, module]
        within = min(out, inner[0] * (inner[1] * inner[2] if len(inner) > 1 else 1))
        assert pair.rank == min(sum(ranks), within)
    want = truth.weighted_sum([(deltas_of(each.adapter), each.weight) for each in given])
    assert truth.relative_error(deltas_of(combined.adapter), want) <= 1e-6
    assert all(kept == pytest.approx(1) for part in combined.retained_energy.values() for kept in part.values())


@pytest.mark.parametrize("combination_type", ["svd", "ties_svd"])
@pytest.mark.parametrize("engine", ["peft", "factored"])
def test_max_is_what_peft_takes(engine, combination_type):
    named = merged("max", engine=engine, combination_type=combination_type)
    unnamed = merged(None, engine=engine, combination_type=combination_type)
    assert truth.relative_error(deltas_of(named.adapter), deltas_of(unnamed.adapter)) == 0
    assert {pair.rank for _, _, pair in named.adapter if min(pair.shape[:2]) >= 6} == {6}


@pytest.mark.parametrize("combination_type", ["svd", "ties_svd", "dare_linear_svd"])
@pytest.mark.parametrize("engine", ["peft", "factored"])
@pytest.mark.parametrize("most", [None, 5])
def test_each_module_gets_as_many_as_its_energy_takes(engine, combination_type, most):
    combined = merged({"energy": 0.8, "max": most}, engine=engine, combination_type=combination_type)
    ranks = {pair.rank for _, _, pair in combined.adapter}
    assert len(ranks) > 1
    assert max(ranks) <= (most or 100)
    for component, module, pair in combined.adapter:
        kept = combined.retained_energy[component][module]
        assert kept >= 0.8 - 1e-9 or pair.rank == most
        assert 0 < kept <= 1


def test_a_convolution_that_holds_less_than_the_default_rank_gets_what_it_holds():
    chosen = TypeAdapter(Merge).validate_python({"combination_type": "svd"})
    wide = loras("sd15", ranks=(30, 40), conv_ranks=(30, 40))
    combined = combine(wide, base_of("sd15"), chosen, device="cpu")
    for _, module, pair in combined.adapter:
        assert pair.rank <= min(pair.shape[0], pair.down[0].numel()), module
    with pytest.raises(MismatchError, match="it can hold"):
        combine(wide, base_of("sd15"), chosen, device="cpu", reference=True)


def test_what_peft_does_not_know_is_refused_as_reference():
    with pytest.raises(UsageError, match="chooses no rank by energy"):
        merged(ENERGY, engine="peft", reference=True)
    with pytest.raises(UsageError, match="engine: factored"):
        merged(4, reference=True)
    with pytest.raises(UsageError, match="chooses no rank by energy"):  # whatever the engine, so it is not named
        merged(ENERGY, engine="factored", reference=True)
    with pytest.raises(LoramergeError, match="svd_driver"):
        combine(
            loras("sd15"),
            base_of("sd15"),
            TypeAdapter(Merge).validate_python(
                {"combination_type": "svd", "svd_driver": "gesvd", "engine": "factored"}
            ),
        )


@pytest.mark.parametrize("output", [
    PeftOutput(kind="adapter", format="peft"),
    DiffusersOutput(kind="adapter", format="diffusers"),
    KohyaOutput(kind="adapter", format="kohya"),
], ids=lambda output: output.format)  # fmt: skip
def test_every_format_keeps_the_rank_of_every_module(output, tmp_path):
    adapter, base = merged_whole(), base_of("sdxl")
    output.write_adapter(adapter, base, Labels("x"), tmp_path)
    again = read(tmp_path, base)
    ranks = {place[:2]: place[2].rank for place in adapter}
    assert len(set(ranks.values())) > 2
    assert {place[:2]: place[2].rank for place in again} == ranks
    assert truth.relative_error(deltas_of(again), deltas_of(adapter)) <= 1e-6


@pytest.mark.parametrize("output", [
    DiffusersOutput(kind="adapter", format="diffusers"),
    KohyaOutput(kind="adapter", format="kohya"),
], ids=lambda output: output.format)  # fmt: skip
def test_diffusers_reads_ranks_that_differ(output, tmp_path):
    adapter, base = merged_whole(), base_of("sdxl")
    output.write_adapter(adapter, base, Labels("x"), tmp_path)
    pipeline = tiny.sdxl()
    pipeline.load_lora_weights(tmp_path, weight_name=next(tmp_path.glob("*.safetensors")).name, adapter_name="m")
    assert truth.relative_error(truth.pipeline_deltas(pipeline, "m"), deltas_of(adapter)) <= 1e-6


def test_peft_reads_ranks_that_differ(tmp_path):
    from peft import PeftModel

    adapter, base, pipeline = merged_whole(), base_of("sdxl"), tiny.sdxl()
    PeftOutput(kind="adapter", format="peft").write_adapter(adapter, base, Labels("x"), tmp_path)
    assert json.loads((tmp_path / "unet" / "adapter_config.json").read_text())["rank_pattern"]
    for component in adapter.components:
        model = PeftModel.from_pretrained(copy.deepcopy(getattr(pipeline, component)), str(tmp_path / component))
        got = truth.adapter_deltas(model, "default", component)
        assert truth.relative_error(got, deltas_of(adapter)[component]) <= 1e-6


def test_the_report_has_rank_and_energy_of_every_module(workspace_with_recipe):
    result = run(read_recipe(workspace_with_recipe), out=workspace_with_recipe.parent / "out", device="cpu")
    report = json.loads((result.artifact / "report.json").read_text())
    modules = [entry for part in report["fidelity"].values() for entry in part["modules"].values()]
    assert report["merge"]["svd_rank"] == ENERGY
    assert all(0.8 - 1e-9 <= entry["retained_energy"] <= 1 or entry["rank"] == 6 for entry in modules)
    assert {entry["rank"] for entry in modules} == {pair.rank for _, _, pair in result.merged}
    card = (result.artifact / "README.md").read_text()
    assert '`svd_rank: {"energy": 0.8, "max": 6}`' in card


@pytest.fixture
def workspace_with_recipe(tmp_path):
    import artifacts

    artifacts.workspace(tmp_path)
    return write_recipe(
        tmp_path,
        base="base",
        loras=artifacts.LORAS,
        merge={"combination_type": "svd", "svd_rank": ENERGY, "engine": "factored"},
    )
