"""Modules that go to a device together come out as they do one by one."""

from __future__ import annotations

import pytest
import torch
from engines.small import OWN, PARAMETERS, method

from loramerge.adapter import LowRank
from loramerge.bases.base import Component
from loramerge.engines import factored
from loramerge.merging import batches
from loramerge.merging.module import Part

SHAPES = {
    f"{kind}{number}": shape for kind, shape in {"a": (48, 20), "b": (16, 8, 3, 3)}.items() for number in range(5)
}
COMPONENT = Component("unet", {}, SHAPES, {name: name for name in SHAPES}, {})


def part(name, seed, *, rank=4, weight=0.7, modules=tuple(SHAPES)):
    generator = torch.Generator().manual_seed(seed)
    pairs = {
        module: LowRank(
            torch.randn(rank, *SHAPES[module][1:], generator=generator),
            torch.randn(SHAPES[module][0], rank, *(1 for _ in SHAPES[module][2:]), generator=generator),
            0.5,
        )
        for module in modules
    }
    return Part(name, pairs, {module: weight - 0.1 * (module == "a3") for module in modules})


PARTS = [part("x", 1), part("y", 2, weight=-0.4), part("z", 3, modules=("a0", "a1", "b0"))]


def merged(chosen, device):
    options = {"seed": 3, "finish": lambda _module, _inputs, found: found}
    return factored.merge_component(COMPONENT, PARTS, chosen, device=device, **options)


ALL = [
    *((each, {}) for each in [*PARAMETERS, *OWN] if each != "nuslerp"),  # it merges two, and there are three
    *((each, {"space": "core"}) for each in ("linear", "dare_ties", "ties_svd")),
    ("dare_linear", {"space": "knots"}),
]


@pytest.mark.parametrize(("combination_type", "parameters"), ALL)
def test_a_batch_gives_what_its_modules_give(combination_type, parameters):
    # To the engine `cpu:0` is a device like any other.
    one_by_one, together = (merged(method(combination_type, **parameters), device) for device in ("cpu", "cpu:0"))
    assert list(together) == list(one_by_one) == sorted(SHAPES)
    for name, found in together.items():
        expected = one_by_one[name]
        assert found.pair.shape == expected.pair.shape
        assert found.pair.rank == expected.pair.rank
        assert (found.pair.delta() - expected.pair.delta()).norm() <= 1e-6 * expected.pair.delta().norm()
        assert found.retained_energy == pytest.approx(expected.retained_energy)


def test_types_without_a_decomposition_are_equal_to_the_bit():
    for combination_type in ("cat", "linear", "dare_linear", "dare_ties", "ties", "magnitude_prune"):
        one_by_one, together = (merged(method(combination_type), device) for device in ("cpu", "cpu:0"))
        for name, found in together.items():
            assert torch.equal(found.pair.down, one_by_one[name].pair.down), (combination_type, name)
            assert torch.equal(found.pair.up, one_by_one[name].pair.up), (combination_type, name)


def test_a_zero_module_does_not_spoil_its_batch():
    zero = LowRank(torch.zeros(4, 20), torch.zeros(48, 4), 0.5)
    parts = [Part(each.name, {**each.modules, "a2": zero}, {**each.weights}) for each in PARTS[:2]]
    options = {"seed": 3, "finish": lambda _module, _inputs, found: found}
    one_by_one, together = (
        factored.merge_component(COMPONENT, parts, method("svd"), device=device, **options)
        for device in ("cpu", "cpu:0")
    )
    for name, found in together.items():
        expected = one_by_one[name].pair.delta()
        assert (found.pair.delta() - expected).norm() <= 1e-6 * expected.norm()


def test_only_modules_that_are_alike_are_put_together():
    found = list(batches.of(PARTS, sorted(SHAPES)))
    assert found == [("a0", "a1"), ("a2", "a4"), ("a3",), ("b0",), ("b1", "b2", "b3", "b4")]


def test_a_batch_has_an_end():
    names = [f"m{number:03}" for number in range(150)]
    pair = LowRank(torch.zeros(1, 2), torch.zeros(2, 1), 1.0)
    many = Part("x", dict.fromkeys(names, pair), dict.fromkeys(names, 1.0))
    assert [len(batch) for batch in batches.of([many], names)] == [64, 64, 22]
