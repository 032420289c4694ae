"""The model card: README.md, with the metadata that the Hub reads. The same input gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loramerge.analysis.rounding import before_rounding
from loramerge.artifact.contents import CARD_SHEET, PAGE, PREVIEW
from loramerge.artifact.model_card import written
from loramerge.documents import yaml_document
from loramerge.families import FAMILIES
from loramerge.messages import counted, visible
from loramerge.recipe.weights import single
from loramerge.reports.card_snippets import (
    again,
    base_id,
    family_of,
    repository,
    snippets,
    strength,
    task,
    verification,
)
from loramerge.reports.markdown import code, fenced, plain, sentence, table
from loramerge.sources.path import is_relative
from loramerge.sources.source import shown

if TYPE_CHECKING:
    from loramerge.lock.model import LockedCard
    from loramerge.recipe import Recipe

_OF_A_KIND = {"lora", "dora", "lycoris", "diffusers-training", "safetensors", "stable-diffusion-diffusers"} | {
    tag for family in FAMILIES.values() for tag in family.card.tags
}


def model_card(
    recipe: Recipe,
    report: Mapping[str, Any],
    *,
    licence: str,
    trigger_phrases: Sequence[str] = (),
    cards: Sequence[LockedCard] = (),
) -> str:
    """The card's text.

    Args:
        recipe: What was run.
        report: As in report.json.
        licence: The Hub's name of it, or `unknown`.
        trigger_phrases: What the inputs say to put into a prompt.
        cards: What the model cards of the LoRAs say.
    """
    more = _metadata(recipe, trigger_phrases, cards)
    model = {"base_model": more.pop("base_model")} if "base_model" in more else {}
    data = model | {
        "library_name": family_of(report).card.library,
        "license": licence,
        **({"pipeline_tag": task(report)} if task(report) else {}),
        "tags": _tags(recipe, report, cards),
    }
    return written(yaml_document.dump(data | more), "\n\n".join(_body(recipe, report, trigger_phrases)))


def _metadata(recipe: Recipe, trigger_phrases: Sequence[str], cards: Sequence[LockedCard]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    trained_on = {card.base_model for card in cards if card.base_model}
    if base := base_id(recipe) or (trained_on.pop() if len(trained_on) == 1 else repository(recipe)):
        found = {"base_model": base, "base_model_relation": "adapter" if _has_adapter(recipe) else "merge"}
    if trigger_phrases:
        found["instance_prompt"] = visible(", ".join(trigger_phrases))
    if recipe.preview is not None:
        prompts = [visible(prompt) for prompt in recipe.preview.prompts for _ in recipe.preview.seeds]
        found["widget"] = [
            {"text": prompt, "output": {"url": f"{PREVIEW}/{number:02}-merged.png"}}
            for number, prompt in enumerate(prompts, start=1)
        ]
    return found


def _tags(recipe: Recipe, report: Mapping[str, Any], cards: Sequence[LockedCard]) -> list[str]:
    """`lora` makes the Hub show how to load one, and `template:sd-lora` a gallery of pictures: both need one.

    What the LoRAs are about, the merge is about. Tags of the Hub itself, and those of a file's kind, are not that.
    """
    card = family_of(report).card
    ours = [card.library, *filter(None, [task(report)]), *card.tags, "loramerge"]
    if _has_adapter(recipe):
        ours += ["lora", "template:sd-lora"] if task(report).endswith("-to-image") else ["lora"]
    theirs = (visible(tag) for card in cards for tag in card.tags or ())
    kept = [tag for tag in theirs if ":" not in tag and tag.lower() not in _OF_A_KIND]
    return list(dict.fromkeys((*ours, *kept)))


def _has_adapter(recipe: Recipe) -> bool:
    return any(output.fused_at is None for output in recipe.outputs)


def _body(recipe: Recipe, report: Mapping[str, Any], trigger_phrases: Sequence[str]) -> Iterator[str]:
    yield f"# {recipe.name}"
    if recipe.description:
        yield plain(recipe.description)
    if recipe.preview is not None:
        yield f"![{_columns(recipe)}; each row from the same noise]({PREVIEW}/{CARD_SHEET})"
    if trigger_phrases:
        yield f"Trigger words: {', '.join(map(code, trigger_phrases))}"
    yield "## What it is made of"
    revision = report["base"]["revision"]
    published_as = f", published as {code(place)}" if (place := repository(recipe)) else ""
    yield f"Base: {code(str(recipe.base))}{f' at {code(revision)}' if revision else ''}{published_as}"
    yield table(("LoRA", "source", "weight", "ranks"), map(_lora, report["loras"]))
    yield f"Merged by {_method(report['merge'])}."
    yield (
        "Fidelity: how far the merge is from the weighted sum of its LoRAs, as relative error"
        f"{before_rounding(recipe, report['rounding'])}. 0 is exact, 1 is as far as nothing at all."
    )
    yield table(("component", "relative error", "ranks"), map(_fidelity, report["fidelity"].items()))
    if pairs := [pair for pair in report["overlap"]["pairs"] if pair["modules"] and pair["notable"]]:
        yield (
            "Overlap of the LoRAs at their weights. Cosine of the deltas: 1 the same, 0 unrelated, -1 one undoes the "
            "other. Subspaces: share of what both write to and of what both read from that is common. Sign conflict: "
            "0.5 unrelated, 1 all of it."
        )
        yield table(("LoRAs", "cosine", "subspaces", "sign conflict"), map(_overlap, pairs))
        if left := len(report["overlap"]["pairs"]) - len(pairs):
            yield f"{counted(left, 'more pair')}, of the same LoRAs or with less in common, in report.json."
    if recipe.report == "full":
        yield f"[{PAGE}]({PAGE}) shows all of this by block, in one file: download it and open it."
    yield from (f"> {sentence(note)}" for note in report["notes"])
    yield "## How to load it"
    yield from strength(recipe, report)
    if recipe.base.source and is_relative(recipe.base.source):
        yield f"The base is not on a Hub: put the path of yours for {code(recipe.base.source)}."
    for snippet in snippets(recipe, report, trigger_phrases):
        yield f"### {snippet.title}"
        yield fenced(snippet.code, snippet.language)
    yield "## How to verify it"
    yield (
        "`provenance.json` names every file of the artifact, and every file that it was made of, with its sha256. This "
        "compares them; `--rebuild` makes it again as well."
    )
    yield fenced(verification(recipe), "bash")
    yield "## How to make it again"
    yield fenced(recipe.text, "yaml")
    yield from again(recipe)


def _columns(recipe: Recipe) -> str:
    if len(recipe.loras) == 1:
        return "The base, the LoRA alone, and the merge"
    return "The base, each LoRA alone, all of them stacked, and the merge"


def _lora(lora: Mapping[str, Any]) -> tuple[str, ...]:
    source = code(shown(lora["source"])) + (f" at {code(lora['revision'])}" if lora["revision"] else "")
    weight = single(lora["weight"])
    numbers = code(json.dumps(lora["weight"])) if weight is None else f"{weight:g}"
    return plain(lora["name"]), source, numbers, ", ".join(lora["ranks"])


def _method(merge: Mapping[str, Any]) -> str:
    given = {key: value for key, value in merge.items() if key not in {"combination_type", "engine", "match", "parts"}}
    settings = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in given.items() if value is not None)
    parts = [f"{', '.join(map(code, _matches(part)))} by {_method(part)}" for part in merge.get("parts") or ()]
    said = f"`{merge['combination_type']}`" + (f" with {settings}" if settings else "")
    return "; ".join([said, *parts])


def _matches(part: Mapping[str, Any]) -> list[str]:
    match = part["match"]
    return [match] if isinstance(match, str) else list(match)


def _fidelity(entry: tuple[str, Mapping[str, Any]]) -> tuple[str, ...]:
    component, part = entry
    ranks = sorted({module["rank"] for module in part["modules"].values() if module["rank"]})
    error = "nothing to compare with" if part["error"] is None else f"{part['error']:.1e}"
    return component, error, ", ".join(map(str, ranks))


def _overlap(pair: Mapping[str, Any]) -> tuple[str, ...]:
    values = (pair["cosine"], pair["column_overlap"], pair["row_overlap"], pair["sign_conflict"])
    cosine, columns, rows, signs = ("none" if value is None else f"{round(value, 2) + 0.0:.2f}" for value in values)
    return plain(" and ".join(pair["loras"])), cosine, f"{columns}, {rows}", signs
