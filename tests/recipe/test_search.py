"""`search:` in a recipe: what may vary, and every mistake in it with its place."""

from __future__ import annotations

import pytest
from sample_recipe import TEXT, parsed, report, small, without_origin

RANGE = {"from": 0.2, "to": 1.2}


def problems(vary, merge="cat", **search):
    merge = {"combination_type": merge} if isinstance(merge, str) else merge
    return without_origin(report(small(merge=merge, search={"vary": vary, **search})))


def test_a_search_in_full():
    recipe = parsed(
        small(
            merge={"combination_type": "ties", "density": 0.5},
            preview={"prompts": ["a bowl"]},
            search={
                "objective": "previews",
                "trials": 12,
                "seed": 3,
                "clip": "hf://openai/clip-vit-base-patch32",
                "vary": {
                    "loras.ikea.weight": {"from": 0, "to": 1, "step": 0.1},
                    "loras.1.weight.unet.down.block_1": {"from": 0.01, "to": 1, "log": True},
                    "merge.combination_type": ["cat", "svd", "dare_ties"],
                    "merge.density": RANGE | {"to": 0.9},
                    "merge.svd_rank": ["sum", 4, {"energy": 0.9}],
                    "merge.seed": {"from": 0, "to": 9},
                },
            },
        )
    )
    assert recipe.search is not None
    assert recipe.search.trials == 12
    assert len(recipe.search.vary) == 6


def test_nobody_but_tune_sees_it():
    plain, searched = parsed(small()), parsed(small(search={"vary": {"loras.ikea.weight": RANGE}}))
    assert plain.data == searched.data
    assert "search" in searched.text


@pytest.mark.parametrize("objective", ["kept", "my_module:score", "pack.age.module:score_2"])
def test_objectives(objective):
    assert parsed(small(search={"objective": objective, "vary": {"loras.ikea.weight": RANGE}})).search is not None


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({}, "search.vary: found an empty mapping; expected keys and what they may be, such as `loras.ink.weight: {"),
        ({"loras.ikea.weight": [1]}, "search.vary.loras.ikea.weight: one value is no choice, so nothing varies; add"),
        ({"loras.ikea.weight": []}, "search.vary.loras.ikea.weight: found an empty list; expected a list that is not"),
        ({"loras.ikea.weight": 1}, "found the number 1; expected a mapping of `from`, `to`, `step`, `log` or a list"),
        ({"loras.ikea.weight": {"from": 1}}, "search.vary.loras.ikea.weight.to: missing; expected a number"),
        ({"loras.ikea.weight": {"from": 1, "to": 1}}, "the range is empty: it goes from 1 to 1, so nothing varies; w"),
        ({"loras.ikea.weight": {"from": 2, "to": 1}}, "the range is upside down: it goes from 2 to 1; write from: 1,"),
        ({"loras.ikea.weight": RANGE | {"step": 3}}, "weight.step: a step of 3 leads beyond 1.2, so nothing varies"),
        ({"loras.ikea.weight": RANGE | {"step": 0}}, "weight.step: found the number 0; expected a number above 0"),
        ({"loras.ikea.weight": {"from": 0, "to": 1, "log": True}}, "a logarithmic range begins above 0, and this one"),
        ({"loras.ikea.weight": RANGE | {"log": True, "step": 0.1}}, "a logarithmic range has no steps; leave out"),
        ({"loras.ikea.weight": {"from": 0, "to": 1e9}}, "weight.to: found the number 1000000000; expected a number f"),
        ({"loras.ikea.weight": [1, "x"]}, "search.vary.loras.ikea.weight.1: found the text 'x'; expected a number"),
        ({"loras.ikea.weight": [1, 1]}, "search.vary.loras.ikea.weight.1: 1 is listed twice; leave out one"),
        ({"loras.ikia.weight": RANGE}, "there is no LoRA 'ikia'; expected 'ikea' or 'feng'; did you mean 'ikea'?"),
        ({"loras.2.weight": RANGE}, "search.vary.loras.2.weight: there is no LoRA '2'; expected 'ikea' or 'feng'"),
        ({"loras.ikea.rank": RANGE}, "search.vary.loras.ikea.rank: of a LoRA only the weight may vary: `loras.ikea.w"),
        ({"loras.feng.weight.unet.dwn": RANGE}, "weight.unet.dwn: `dwn`: unknown key; did you mean 'down'?"),
        ({"loras.ikea.weight.unet": RANGE}, "the recipe's `weight` is one value there"),
        ({"loras.ikea.weight": RANGE, "loras.0.weight": RANGE}, "`loras.ikea.weight` varies the same; leave out one"),
        ({"loras.feng.weight": RANGE, "loras.feng.weight.unet": RANGE}, "`loras.feng.weight` varies the same; leave"),
        ({"base.source": ["a", "b"]}, "search.vary.base.source: only weights of LoRAs and parameters of the merge may"),
        ({"merge": ["a", "b"]}, "search.vary.merge: only weights of LoRAs and parameters of the merge may vary: `lo"),
        ({"merges.density": RANGE}, "may vary: `loras.NAME.weight` or `merge.…`; did you mean 'merge'?"),
        ({"merge.density": RANGE}, "search.vary.merge.density: `cat` has no parameter `density`"),
        ({"merge.combination_type": ["cat", "tis"]}, "there is no type 'tis'; expected 'cat', 'svd', "),
        ({"merge.combination_type": ["cat", "ties"]}, "combination_type.1: `ties` needs `density`; add `merge.d"),
        ({"merge.combination_type": RANGE}, "types have no order: expected a list of them, such as [cat, ties]"),
        ({"merge.combination_type": ["cat", "svd"], "merge.svd_rank": {"from": 4, "to": 8, "step": 0.5}},
         "svd_rank.step: found the number 0.5; expected a whole number, as `merge.svd_rank` is one"),
        ({"merge.combination_type": ["cat", "svd"], "merge.svd_rank": {"from": 0, "to": 8}},
         "svd_rank.from: found the number 0; expected"),
    ],
)  # fmt: skip
def test_what_can_not_vary(vary, message):
    (said,) = problems(vary)
    assert message in said


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"objective": "keptt"}, "search.objective: found the text 'keptt'; expected kept, previews, or a function of"),
        ({"objective": "previews"}, "search.objective: it compares pictures, and the recipe has no `preview:`"),
        ({"clip": "hf://a/b"}, "search.clip: it is for `objective: previews`; leave it out, or choose that"),
        ({"trials": 0}, "search.trials: found the number 0; expected a whole number from 1 to 100000"),
        ({"sed": 0}, "search.sed: unknown key; did you mean 'seed'?"),
    ],
)
def test_other_mistakes(search, message):
    (said,) = problems({"loras.ikea.weight": RANGE}, **search)
    assert message in said


def test_a_clip_model_that_is_no_source():
    search = {"objective": "previews", "clip": "hf://a", "vary": {"loras.ikea.weight": RANGE}}
    (said,) = report(small(preview={"prompts": ["a"]}, search=search))
    assert "search.clip: hf://a names no repository" in said


def test_a_mistake_is_told_with_its_line_and_column():
    text = f"{TEXT}search:\n  vary:\n    loras.ikea.weight: {{from: 1.2, to: 0.2}}\n    merge.density: [0.3, 0.5]\n"
    assert [each.split(" search")[0] for each in report(text)] == ["r.yaml:18:24:", "r.yaml:19:20:"]
