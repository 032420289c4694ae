from functools import cache

import foreign
import pytest
import reference
import tiny
import torch
import truth
from canonical import adapter_of, base_of, deltas_of
from engines.small import OWN
from pydantic import TypeAdapter

from loramerge.errors import MismatchError, UsageError
from loramerge.methods import METHODS, Merge
from loramerge.stages.combine import WeightedAdapter, combine

pytestmark = pytest.mark.slow

PARAMETERS = {
    "cat": {},
    "svd": {"svd_rank": 5},
    "linear": {},
    "ties": {"density": 0.6, "majority_sign_method": "frequency"},
    "ties_svd": {"density": 0.6},
    "dare_linear": {"density": 0.7, "seed": 3},
    "dare_ties": {"density": 0.7, "seed": 3},
    "dare_linear_svd": {"density": 0.7, "seed": 3, "svd_rank": 4},
    "dare_ties_svd": {"density": 0.7, "seed": 3},
    "magnitude_prune": {"density": 0.4},
    "magnitude_prune_svd": {"density": 0.4, "svd_clamp": 0.99},
}
COMPONENTS = {"sd15": ("unet", "text_encoder"), "sdxl": ("unet", "text_encoder", "text_encoder_2")}
WEIGHTS = (0.7, -0.8)
# Each type in both families on a few layers of every kind and shape; one that draws at random, and one that cuts what
# was drawn to a rank, on all layers of the larger family.
WHOLE = ("dare_linear", "dare_ties_svd")
CASES = [
    *((each, "sd15", True) for each in PARAMETERS),
    *((each, "sdxl", each not in WHOLE) for each in PARAMETERS),
]


def method(combination_type, **parameters):
    return TypeAdapter(Merge).validate_python({"combination_type": combination_type, **parameters})


def loras(pipeline, *, ranks=(4, 4), conv_ranks=(3, 3), **options):
    options = {"conv_alpha": 1.0, "few": True} | options
    return [
        foreign.random_lora(pipeline, rank=rank, alpha=2.0 + seed, conv_rank=conv, seed=seed, **options)
        for seed, (rank, conv) in enumerate(zip(ranks, conv_ranks, strict=True))
    ]


@cache
def loras_of(family, few):
    return loras(tiny.shared(family), few=few)


def weighted(pairs, weights=WEIGHTS):
    names = [f"lora{number}" for number in range(len(pairs))]
    return [
        WeightedAdapter(name, adapter_of(lora), weight)
        for name, lora, weight in zip(names, pairs, weights, strict=True)
    ]


@cache
def by_peft(combination_type, family, few, **parameters):
    """What PEFT's engine makes of a case; what the factored one makes is compared with it as well."""
    chosen = method(combination_type, **parameters)
    return combine(weighted(loras_of(family, few)), base_of(family), chosen, reference=True)


def test_every_type_has_parameters_here():
    assert set(PARAMETERS) == {cls.name() for cls in METHODS if cls.in_peft}
    assert set(OWN) == {cls.name() for cls in METHODS if not cls.in_peft}


@pytest.mark.parametrize(("combination_type", "family", "few"), CASES)
def test_every_type_gives_what_peft_gives_on_the_real_base(combination_type, family, few):
    pipeline, pairs = tiny.shared(family), loras_of(family, few)
    chosen = method(combination_type, **PARAMETERS[combination_type])
    results = [(by_peft(combination_type, family, few, **PARAMETERS[combination_type]).adapter, 1e-6)]
    if chosen.decomposes:  # PEFT's own decomposition is in float32
        results.append((combine(weighted(pairs), base_of(family), chosen).adapter, 1e-5))
    for component in COMPONENTS[family]:
        expected = reference.peft_merge(
            getattr(pipeline, component),
            [lora[component] for lora in pairs],
            WEIGHTS,
            seed=getattr(chosen, "seed", 0),
            **chosen.peft_arguments(),
        )
        want = {name: scale * foreign.deltas({"": {"": (down, up, down.shape[0])}})[""][""]
                for name, (down, up, scale) in expected.items()}  # fmt: skip
        for merged, tolerance in results:
            assert truth.relative_error(deltas_of(merged)[component], want) <= tolerance


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("combination_type", ["cat", "svd"])
def test_cat_and_full_rank_svd_are_the_weighted_sum(combination_type, family):
    pairs = loras(tiny.shared(family), ranks=(4, 2), conv_ranks=(3, 1), few=False)
    parameters = {"svd_rank": 6} if combination_type == "svd" else {}
    merged = combine(weighted(pairs), base_of(family), method(combination_type, **parameters)).adapter
    want = truth.weighted_sum([(foreign.deltas(lora), weight) for lora, weight in zip(pairs, WEIGHTS, strict=True)])
    assert truth.relative_error(deltas_of(merged), want) <= 1e-6


def test_a_module_that_only_one_lora_touches_is_merged_from_that_one():
    pipeline = tiny.shared("sd15")
    pairs = [
        foreign.random_lora(pipeline, rank=4, alpha=4, seed=0, components=("unet",), modules=r"attn1\.to_q"),
        foreign.random_lora(pipeline, rank=3, alpha=3, seed=1, components=("unet",), modules=r"attn[12]\.to_(q|k)"),
    ]
    merged = combine(weighted(pairs), base_of("sd15"), method("cat")).adapter
    ranks = {module.rpartition(".attn")[2]: pair.rank for _, module, pair in merged}
    assert ranks == {"1.to_q": 7, "1.to_k": 3, "2.to_q": 3, "2.to_k": 3}
    want = truth.weighted_sum([(foreign.deltas(lora), weight) for lora, weight in zip(pairs, WEIGHTS, strict=True)])
    assert truth.relative_error(deltas_of(merged), want) <= 1e-6


@pytest.mark.parametrize("combination_type", ["ties", "ties_svd", "cat", "linear"])
def test_a_lora_of_weight_zero_takes_no_part(combination_type):
    pairs = loras(tiny.shared("sd15"), ranks=(4, 4, 4), conv_ranks=(3, 3, 3), components=("unet",))
    chosen = method(combination_type, **PARAMETERS[combination_type])
    with_zero = combine(weighted(pairs, (0.5, 0.0, 0.7)), base_of("sd15"), chosen)
    without = combine(weighted([pairs[0], pairs[2]], (0.5, 0.7)), base_of("sd15"), chosen)
    assert truth.relative_error(deltas_of(with_zero.adapter), deltas_of(without.adapter)) == 0
    assert "LoRA lora1" in with_zero.notes[0]
    assert "take no part" in with_zero.notes[0]


def test_one_lora_by_cat_is_that_lora_times_its_weight():
    pairs = loras(tiny.shared("sdxl"), few=False)[:1]
    merged = combine(weighted(pairs, (0.3,)), base_of("sdxl"), method("cat")).adapter
    assert truth.relative_error(deltas_of(merged), truth.weighted_sum([(foreign.deltas(pairs[0]), 0.3)])) <= 1e-6


def test_the_generator_of_the_caller_is_left_alone():
    pairs = loras(tiny.shared("sd15"), components=("unet",))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    combine(weighted(pairs), base_of("sd15"), method("dare_linear", density=0.5, seed=9))
    assert torch.equal(before, torch.get_rng_state())


def test_a_density_of_one_prunes_nothing_and_warns_of_nothing():
    pairs = loras(tiny.shared("sd15"), components=("unet",))
    pruned = combine(weighted(pairs), base_of("sd15"), method("magnitude_prune", density=1.0)).adapter
    linear = combine(weighted(pairs), base_of("sd15"), method("linear")).adapter
    assert truth.relative_error(deltas_of(pruned), deltas_of(linear)) <= 1e-6


def best_of_rank(delta, rank):
    """Eckart-Young, dense and in float64."""
    outer, values, inner = torch.linalg.svd(delta.double().flatten(1), full_matrices=False)
    return ((outer[:, :rank] * values[:rank]) @ inner[:rank]).reshape(delta.shape)


@pytest.mark.parametrize("engine", ["peft", "factored"])
def test_svd_cuts_a_single_lora_to_a_rank(engine):
    pairs = loras(tiny.shared("sdxl"), ranks=(6,), conv_ranks=(2,))
    merged = combine(weighted(pairs, (0.7,)), base_of("sdxl"), method("svd", svd_rank=3, engine=engine))
    want = {
        component: {name: 0.7 * best_of_rank(delta, 3) for name, delta in modules.items()}
        for component, modules in foreign.deltas(pairs[0]).items()
    }
    assert truth.relative_error(deltas_of(merged.adapter), want) <= 1e-6
    assert {pair.rank for *_, pair in merged.adapter} == {2, 3}  # what is smaller is not padded
    assert merged.notes == ()


def test_svd_of_a_single_lora_by_energy_keeps_that_share_and_no_more():
    pairs = loras(tiny.shared("sdxl"), ranks=(6,), conv_ranks=(2,))
    merged = combine(weighted(pairs, (1.0,)), base_of("sdxl"), method("svd", svd_rank={"energy": 0.8}))
    deltas = foreign.deltas(pairs[0])
    for component, module, pair in merged.adapter:
        energies = torch.linalg.svdvals(deltas[component][module].double().flatten(1)).square().cumsum(0)
        assert energies[pair.rank - 1] >= 0.8 * energies[-1] * (1 - 1e-9)
        assert pair.rank == 1 or energies[pair.rank - 2] < 0.8 * energies[-1]


def test_a_single_lora_has_no_reference_to_be_cut_by():
    pairs = loras(tiny.shared("sd15"), ranks=(4,), conv_ranks=(3,))
    with pytest.raises(UsageError, match="a single LoRA as it is"):
        combine(weighted(pairs, (1.0,)), base_of("sd15"), method("svd", svd_rank=2), reference=True)


REFUSED = {
    "unequal ranks": ({"ranks": (4, 6)}, "linear", {}, WEIGHTS, "needs equal ranks; in unet."),
    "one lora": ({"ranks": (4,), "conv_ranks": (3,)}, "ties_svd", {"density": 0.5}, (1.0,), "merges two or more LoRAs"),
    "only zeros": ({}, "cat", {}, (0.0, 0.0), "every LoRA weighs 0"),
    "one lora for a mean": (
        {"ranks": (4,), "conv_ranks": (3,)},
        "karcher",
        {},
        (1.0,),
        "and only lora0 weighs anything",
    ),
    "three for two": (
        {"ranks": (4, 4, 4), "conv_ranks": (3, 3, 3)},
        "nuslerp",
        {},
        (1.0, 0.5, 0.5),
        "merges 2 LoRAs, and unet has 3",
    ),
    "a rank that a convolution can't hold by tsv": ({}, "tsv", {"svd_rank": 500}, WEIGHTS, "rank 500: it can hold"),
    "only zeros for tsv": ({}, "tsv", {}, (0.0, 0.0), "every LoRA weighs 0"),
    "one left": ({}, "ties", {"density": 0.5}, (1.0, 0.0), "only lora0 weighs anything"),
    "cuSOLVER on the CPU": ({}, "svd", {"svd_driver": "gesvd"}, WEIGHTS, "svd_driver"),
    "a rank that a convolution can't hold": ({}, "svd", {"svd_rank": 500}, WEIGHTS, "rank 500: it can hold"),
    "signs elected by PEFT, and weights by block": (
        {},
        "ties_svd",
        {"density": 0.5, "svd_clamp": 0.99},
        (1.0, {"unet": {"down": 0.5}}),
        "elects signs before it weighs",
    ),
    "an unknown block": ({}, "cat", {}, (1.0, {"unet": {"down": {"block_7": 1.0}}}), "no attention there"),
    "an unknown component": ({}, "cat", {}, (1.0, {"text_encoder_2": 1.0}), "it has unet, text_encoder"),
    "too many weights": ({}, "cat", {}, (1.0, {"unet": {"down": {"block_0": [1, 2, 3]}}}), "3 weights; there are 2"),
}


def test_what_peft_can_not_clamp_is_refused_and_the_other_engine_clamps_it(monkeypatch):
    monkeypatch.setattr("loramerge.methods.svd_parameters._MOST_CLAMPED", 100)
    pairs = weighted(loras(tiny.shared("sd15")), WEIGHTS)
    with pytest.raises(MismatchError, match="PEFT clamps factors of 100 numbers at most, and at rank 4 "):
        combine(pairs, base_of("sd15"), method("svd", svd_rank=4, svd_clamp=0.99), device="cpu")
    chosen = method("svd", svd_rank=4, svd_clamp=0.99, engine="factored")
    ours = combine(pairs, base_of("sd15"), chosen, device="cpu")
    monkeypatch.undo()
    by_torch = combine(pairs, base_of("sd15"), chosen, device="cpu")
    assert truth.relative_error(deltas_of(ours.adapter), deltas_of(by_torch.adapter)) <= 1e-6


def test_a_lora_that_weighs_nothing_is_no_other_lora():
    pairs = loras(tiny.shared("sd15"), few=True)
    same = [pairs[0], pairs[1], pairs[0]]
    with pytest.raises(MismatchError, match="more than twice as strongly"):
        combine(weighted(same, (1.0, 0.5, 1.0)), base_of("sd15"), method("linear"), device="cpu")
    combine(weighted(same, (1.0, 0.5, 0.0)), base_of("sd15"), method("linear"), device="cpu")


@pytest.mark.parametrize("case", REFUSED)
def test_what_peft_gets_wrong_is_refused(case):
    options, combination_type, parameters, weights, message = REFUSED[case]
    pairs = loras(tiny.shared("sd15"), **options)
    with pytest.raises(MismatchError) as error:
        combine(weighted(pairs, weights), base_of("sd15"), method(combination_type, **parameters), device="cpu")
    assert message in error.value.message
    assert error.value.exit_code == 5


@pytest.mark.parametrize("combination_type", PARAMETERS | OWN)
def test_a_component_that_only_one_lora_touches_is_taken_as_it_is(combination_type):
    pipeline = tiny.shared("sd15")
    pairs = [
        foreign.random_lora(pipeline, rank=4, alpha=2, seed=0, few=True),
        foreign.random_lora(pipeline, rank=4, alpha=2, seed=1, few=True, components=("unet",)),
    ]
    chosen = method(combination_type, **(PARAMETERS | OWN)[combination_type])
    combined = combine(weighted(pairs), base_of("sd15"), chosen)
    want = {"text_encoder": foreign.deltas(pairs[0])["text_encoder"]}
    got = {"text_encoder": deltas_of(combined.adapter)["text_encoder"]}
    assert truth.relative_error(got, truth.weighted_sum([(want, WEIGHTS[0])])) <= 1e-6
    said = any("text_encoder: only lora0 touches it" in note for note in combined.notes)
    assert said == (combination_type not in ("cat", "linear"))


@pytest.mark.parametrize("combination_type", ["linear", "ties", "dare_linear", "magnitude_prune"])
def test_ranks_need_to_agree_in_each_module_only(combination_type):
    pipeline = tiny.shared("sd15")
    options = {"components": ("unet",), "alpha": 2, "few": True}
    first = foreign.random_lora(pipeline, rank=4, seed=0, modules=r"attn1", **options)
    second = foreign.random_lora(pipeline, rank=4, seed=1, modules=r"attn1", **options)
    second["unet"] |= foreign.random_lora(pipeline, rank=6, seed=2, modules=r"attn2", **options)["unet"]
    chosen = method(combination_type, **PARAMETERS[combination_type])
    merged = combine(weighted([first, second]), base_of("sd15"), chosen).adapter
    assert {pair.rank for _, module, pair in merged if "attn1" in module} == {4}
    assert {pair.rank for _, module, pair in merged if "attn2" in module} == {6}


def test_two_loras_of_one_name_are_refused():
    pairs = loras(tiny.shared("sd15"), components=("unet",))
    twice = [WeightedAdapter("a", adapter_of(lora)) for lora in pairs]
    with pytest.raises(MismatchError, match="two LoRAs are called a"):
        combine(twice, base_of("sd15"), method("cat"))


def test_an_unknown_device_is_refused():
    pairs = loras(tiny.shared("sd15"), components=("unet",))
    with pytest.raises(UsageError, match="no device 'gpu'"):
        combine(weighted(pairs), base_of("sd15"), method("cat"), device="gpu")


def test_equal_loras_are_refused_where_they_would_multiply():
    pairs = loras(tiny.shared("sd15"), components=("unet",))[:1] * 2
    with pytest.raises(MismatchError, match="lora0 and lora1 are equal"):
        combine(weighted(pairs), base_of("sd15"), method("linear"))
    merged = combine(weighted(pairs, (0.5, 0.25)), base_of("sd15"), method("cat")).adapter
    assert truth.relative_error(deltas_of(merged), truth.weighted_sum([(foreign.deltas(pairs[0]), 0.75)])) <= 1e-6


def test_weights_by_block_are_what_diffusers_makes_of_them(tmp_path):
    pipeline = tiny.sdxl()
    pairs = foreign.random_lora(pipeline, rank=2, alpha=2, seed=0, conv_rank=2)
    path = foreign.write_diffusers(pairs, tmp_path / "lora.safetensors")
    weight = {
        "unet": {"down": 0.3, "mid": 0.5, "up": {"block_0": 0.6, "block_1": [0.4, 0.8, 1.1]}},
        "text_encoder": 0.2,
    }
    pipeline.load_lora_weights(path, adapter_name="x")
    pipeline.set_adapters("x", weight)
    merged = combine([WeightedAdapter("x", adapter_of(pairs), weight)], base_of("sdxl"), method("cat")).adapter
    assert truth.relative_error(deltas_of(merged), truth.pipeline_deltas(pipeline, "x")) <= 1e-6


@pytest.mark.parametrize(("combination_type", "family", "few"), [each for each in CASES if "dare" not in str(each)])
def test_the_factored_engine_gives_what_peft_gives(combination_type, family, few):
    parameters = {key: value for key, value in PARAMETERS[combination_type].items() if key != "svd_clamp"}
    chosen = method(combination_type, engine="factored", **parameters)
    ours = combine(weighted(loras_of(family, few)), base_of(family), chosen)
    theirs = by_peft(combination_type, family, few, **parameters)
    tolerance = 1e-5 if combination_type.endswith("svd") else 1e-6
    assert truth.relative_error(deltas_of(ours.adapter), deltas_of(theirs.adapter)) <= tolerance
    assert ours.notes == theirs.notes


@pytest.mark.parametrize("case", [case for case in REFUSED if "by PEFT" not in case])
def test_the_factored_engine_refuses_the_same(case):
    options, combination_type, parameters, weights, message = REFUSED[case]
    pairs = loras(tiny.shared("sd15"), **options)
    chosen = method(combination_type, engine="factored", **parameters)
    with pytest.raises(MismatchError) as error:
        combine(weighted(pairs, weights), base_of("sd15"), chosen, device="cpu")
    assert message in error.value.message
