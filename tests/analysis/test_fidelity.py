import foreign
import pytest
import tiny
import torch
import truth
from canonical import adapter_of, deltas_of
from hypothesis import given, settings
from hypothesis import strategies as st

from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.fidelity import EXACT, POOR, in_words, measure, total
from loramerge.numerics.norms import norm_of


def constant(weight):
    return lambda _component, _module: weight


def random_pair(out, inner, rank, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(rank, inner, generator=generator), torch.randn(out, rank, generator=generator), scale)


@settings(max_examples=40, deadline=None)
@given(
    out=st.integers(1, 12),
    inner=st.integers(1, 12),
    ranks=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    weights=st.lists(st.floats(-2, 2).filter(lambda weight: abs(weight) > 1e-3), min_size=4, max_size=4),
    scale=st.floats(0.1, 4),
)
def test_it_is_what_dense_float64_says(out, inner, ranks, weights, scale):
    inputs = [random_pair(out, inner, rank, scale, seed) for seed, rank in enumerate(ranks)]
    merged = random_pair(out, inner, 3, 1.0, 99)
    entry = measure(
        Adapter({"unet": {"m": merged}}),
        {
            f"l{number}": (Adapter({"unet": {"m": pair}}), constant(weight))
            for number, (pair, weight) in enumerate(zip(inputs, weights, strict=False))
        },
    )["unet"]["m"]
    dense = sum(weight * pair.delta() for pair, weight in zip(inputs, weights, strict=False))
    assert entry.norm == pytest.approx(float(merged.delta().norm()), rel=1e-6)
    assert entry.target == pytest.approx(float(dense.norm()), rel=1e-6, abs=1e-6)
    assert entry.difference == pytest.approx(float((merged.delta() - dense).norm()), rel=1e-6, abs=1e-6)
    assert norm_of(merged) == pytest.approx(float(merged.delta().norm()), rel=1e-6)


def test_loras_that_cancel_have_no_relative_error():
    pair = random_pair(4, 4, 2, 1.0, 0)
    nothing = LowRank(torch.zeros(1, 4), torch.zeros(4, 1), 1.0)
    loras = {
        "a": (Adapter({"unet": {"m": pair}}), constant(0.0)),
        "b": (Adapter({"unet": {"m": nothing}}), constant(1.0)),
    }
    found = measure(Adapter({"unet": {"m": nothing}}), loras)
    assert found["unet"]["m"].error is None
    assert total(found["unet"]) is None


def test_the_total_weighs_modules_by_their_norm():
    pairs = foreign.random_lora(tiny.shared("sdxl"), rank=4, alpha=2, seed=0, conv_rank=2)
    adapter = adapter_of(pairs)
    half = Adapter(
        {name: {module: LowRank(pair.down, pair.up / 2, pair.scale) for module, pair in modules.items()}
         for name, modules in adapter.components.items()}
    )  # fmt: skip
    found = measure(half, {"a": (adapter, constant(1.0))})
    for component, modules in found.items():
        assert total(modules) == pytest.approx(0.5)
        assert total(modules) == pytest.approx(
            truth.relative_error(deltas_of(half)[component], foreign.deltas(pairs)[component])
        )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "the weighted sum is zero"),
        (EXACT, "the merge is the LoRAs stacked"),
        (POOR, "close to the LoRAs stacked"),
        (0.11, "far from the LoRAs stacked"),
    ],
)
def test_errors_in_words(error, said):
    assert in_words(error) == said
