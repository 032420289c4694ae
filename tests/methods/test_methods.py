"""The methods' parameters and facts, compared with the installed PEFT."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from loramerge.methods import METHODS

SVD = {"svd_rank", "svd_clamp", "svd_full_matrices", "svd_driver"}


def signature():
    from peft import LoraModel

    return inspect.signature(LoraModel.add_weighted_adapter).parameters


PEFTS = [method for method in METHODS if method.in_peft]
by_method = pytest.mark.parametrize("method", PEFTS, ids=lambda method: method.name())


def made(method, **parameters):
    needed = {"density": 0.5} if "density" in method.model_fields else {}
    return method(combination_type=method.name(), **needed, **parameters)


def on_weights(method):
    """PEFT's function that combines tensors for a type, or None for `cat`, which has none."""
    from peft.utils import merge_utils

    return {"cat": None, "svd": merge_utils.task_arithmetic, "linear": merge_utils.task_arithmetic}.get(
        method.name(), getattr(merge_utils, method.name().removesuffix("_svd"), None)
    )


def merged(method, ranks=(2, 3), seed=0):
    """The delta that PEFT makes of two adapters of given ranks at 0.5 and -2, their weighted sum, and the new rank."""
    from peft import get_peft_model

    torch.manual_seed(1)
    model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(6, 5)), config(ranks[0]), "one")
    model.add_adapter("two", config(ranks[1]))
    layer = model.base_model.model[0]
    total = 0.5 * layer.get_delta_weight("one") - 2 * layer.get_delta_weight("two")
    torch.manual_seed(seed)
    model.base_model.add_weighted_adapter(["one", "two"], [0.5, -2.0], "merged", **made(method).peft_arguments())
    return layer.get_delta_weight("merged"), total, layer.r["merged"]


def config(rank):
    from peft import LoraConfig

    return LoraConfig(r=rank, target_modules=["0"], init_lora_weights=False)


def test_the_eleven_types_are_pefts():
    assert len(PEFTS) == 11
    assert {method.name() for method in PEFTS} == {*get_args(annotation("combination_type"))}


def annotation(parameter):
    from peft import LoraModel

    return inspect.get_annotations(LoraModel.add_weighted_adapter, eval_str=True)[parameter]


@by_method
def test_each_type_has_exactly_the_parameters_that_it_uses(method):
    function = on_weights(method)
    expected = set(inspect.signature(function).parameters) - {"task_tensors", "weights"} if function else set()
    expected |= SVD if method.name().endswith("svd") else set()
    assert set(made(method).peft_arguments()) == {"combination_type"} | expected
    others = {"engine", "parts", *({"space"} & {*method.model_fields})}
    assert set(method.model_fields) - set(made(method).peft_arguments()) == others | (
        {"seed"} if method.random else set()
    )


@by_method
def test_every_parameter_is_an_argument_of_pefts(method):
    assert set(made(method).peft_arguments()) <= set(signature())


@by_method
def test_defaults_are_pefts_but_for_the_full_decomposition(method):
    for key, value in made(method).peft_arguments().items():
        if key not in {"combination_type", "density"}:
            assert value == (False if key == "svd_full_matrices" else signature()[key].default)


def test_the_full_decomposition_gives_the_same():
    torch.manual_seed(0)
    delta = torch.randn(5, 6)
    full, reduced = (torch.linalg.svd(delta, full_matrices=each) for each in (True, False))
    torch.testing.assert_close(full.U[:, :3], reduced.U[:, :3])
    torch.testing.assert_close(full.S[:3], reduced.S[:3])
    torch.testing.assert_close(full.Vh[:3], reduced.Vh[:3])


@by_method
def test_factor_wise_types_need_equal_ranks(method):
    if method.factor_wise:
        with pytest.raises(ValueError, match="All adapters must have the same r value"):
            merged(method)
    else:
        merged(method)


@by_method
def test_exact_types_give_the_weighted_sum(method):
    delta, total, _ = merged(method, ranks=(2, 2))
    assert torch.allclose(delta, total, atol=1e-6) == method.concatenates


@by_method
def test_random_types_depend_on_the_seed(method):
    deltas = [merged(method, ranks=(2, 2), seed=seed)[0] for seed in range(3)]
    assert all(torch.equal(deltas[0], each) for each in deltas) != method.random


@by_method
def test_decomposing_types_keep_the_largest_rank(method):
    ranks = (2, 2) if method.factor_wise else (2, 3)
    assert method.decomposes == (method.name().endswith("svd"))
    assert merged(method, ranks)[2] == (5 if method.concatenates else max(ranks))


@by_method
def test_sign_election_goes_with_its_parameter(method):
    assert method.sign_elected == ("majority_sign_method" in method.model_fields)


@by_method
def test_a_method_takes_no_other_parameter(method):
    every = {"density": 0.5, "seed": 0, "majority_sign_method": "total"} | dict.fromkeys(SVD)
    every["svd_full_matrices"] = True
    for key, value in every.items():
        given = {"combination_type": method.name(), "density": 0.5} if "density" in method.model_fields else {}
        given |= {"combination_type": method.name(), key: value}
        if key in method.model_fields:
            assert method.model_validate(given)
        else:
            with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
                method.model_validate(given)


@pytest.mark.parametrize("method", [each for each in METHODS if not each.in_peft], ids=lambda method: method.name())
def test_what_peft_does_not_have_is_not_left_to_it(method):
    assert made(method).engine == "factored"
    assert made(method).unknown_to_peft == f"combination_type: {method.name()}"
    assert method.decomposes
    with pytest.raises(ValidationError, match="PEFT has no such type; leave it out, or say `factored`"):
        made(method, engine="peft")


@pytest.mark.parametrize(
    "method", [each for each in METHODS if "density" in each.model_fields], ids=lambda method: method.name()
)
def test_density_is_above_0_and_at_most_1(method):
    none = {key: 0.0 for key in ("epsilon", "gamma") if key in method.model_fields}
    assert method.model_validate({"combination_type": method.name(), "density": 1, **none})
    for density in (0, -0.1, 1.1, float("nan"), True, "0.5", None):
        with pytest.raises(ValidationError):
            method.model_validate({"combination_type": method.name(), "density": density})


@pytest.mark.parametrize("driver", [None, "gesvd", "gesvdj", "gesvda"])
def test_drivers_are_those_that_torch_knows(driver):
    svd = next(method for method in METHODS if method.name() == "svd")
    assert made(svd, svd_driver=driver).peft_arguments()["svd_driver"] == driver
