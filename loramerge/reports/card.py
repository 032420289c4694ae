"""The model card: README.md, with the metadata that the Hub reads. The same input gives the same bytes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loramerge.analysis.rounding import before_rounding
from loramerge.artifact.contents import CARD_SHEET, PAGE, PREVIEW
from loramerge.messages import counted
from loramerge.recipe.weights import single
from loramerge.reports.card_snippets import base_id, snippets, verification
from loramerge.sources.source import shown

if TYPE_CHECKING:
    from loramerge.recipe import Recipe

_TAGS = {"sd15": "stable-diffusion", "sd2": "stable-diffusion", "sdxl": "stable-diffusion-xl"}


def model_card(recipe: Recipe, report: Mapping[str, Any], *, licence: str, trigger_phrases: Sequence[str] = ()) -> str:
    """The card's text.

    Args:
        recipe: What was run.
        report: As in report.json.
        licence: The Hub's name of it, or `unknown`.
        trigger_phrases: What the inputs say to put into a prompt.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        license=licence,
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=_tags(recipe, report),
        **_metadata(recipe, trigger_phrases),
    )
    body = "\n\n".join(_body(recipe, report, trigger_phrases))
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n"))


def _metadata(recipe: Recipe, trigger_phrases: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if base := base_id(recipe):
        found = {"base_model": base, "base_model_relation": "adapter" if _has_adapter(recipe) else "merge"}
    if trigger_phrases:
        found["instance_prompt"] = ", ".join(trigger_phrases)
    if recipe.preview is not None:
        prompts = [prompt for prompt in recipe.preview.prompts for _ in recipe.preview.seeds]
        found["widget"] = [
            {"text": prompt, "output": {"url": f"{PREVIEW}/{number:02}-merged.png"}}
            for number, prompt in enumerate(prompts, start=1)
        ]
    return found


def _tags(recipe: Recipe, report: Mapping[str, Any]) -> list[str]:
    """`lora` makes the Hub show how to load one, and `template:sd-lora` a gallery: both need one to be there."""
    family = _TAGS.get(report["base"]["family"], "stable-diffusion")
    common = ["diffusers", "text-to-image", family, "loramerge"]
    return [*common, "lora", "template:sd-lora"] if _has_adapter(recipe) else common


def _has_adapter(recipe: Recipe) -> bool:
    return any(output.fused_at is None for output in recipe.outputs)


def _body(recipe: Recipe, report: Mapping[str, Any], trigger_phrases: Sequence[str]) -> Iterator[str]:
    yield f"# {recipe.name}"
    if recipe.description:
        yield recipe.description
    if recipe.preview is not None:
        yield f"![{_columns(recipe)}; each row from the same noise]({PREVIEW}/{CARD_SHEET})"
    if trigger_phrases:
        yield f"Trigger words: {', '.join(map(_code, trigger_phrases))}"
    yield "## What it is made of"
    revision = report["base"]["revision"]
    yield f"Base: {_code(str(recipe.base))}{f' at {_code(revision)}' if revision else ''}"
    yield _table(("LoRA", "source", "weight", "ranks"), map(_lora, report["loras"]))
    yield f"Merged by {_method(report['merge'])}."
    yield (
        "Fidelity: how far the merge is from the weighted sum of its LoRAs, as relative error"
        f"{before_rounding(recipe, report['rounding'])}. 0 is exact, 1 is as far as nothing at all."
    )
    yield _table(("component", "relative error", "ranks"), map(_fidelity, report["fidelity"].items()))
    if pairs := [pair for pair in report["overlap"]["pairs"] if pair["modules"] and pair["notable"]]:
        yield (
            "Overlap of the LoRAs at their weights. Cosine of the deltas: 1 the same, 0 unrelated, -1 one undoes the "
            "other. Subspaces: share of what both write to and of what both read from that is common. Sign conflict: "
            "0.5 unrelated, 1 all of it."
        )
        yield _table(("LoRAs", "cosine", "subspaces", "sign conflict"), map(_overlap, pairs))
        if left := len(report["overlap"]["pairs"]) - len(pairs):
            yield f"{counted(left, 'more pair')}, of the same LoRAs or with less in common, in report.json."
    if recipe.report == "full":
        yield f"[{PAGE}]({PAGE}) shows all of this by block, in one file: download it and open it."
    yield from (f"> {note}" for note in report["notes"])
    yield "## How to load it"
    for snippet in snippets(recipe, report):
        yield f"### {snippet.title}"
        yield _fenced(snippet.code, snippet.language)
    yield "## How to verify it"
    yield (
        "`provenance.json` names every file of the artifact, and every file that it was made of, with its sha256. This "
        "compares them; `--rebuild` makes it again as well."
    )
    yield _fenced(verification(recipe), "bash")
    yield "## How to make it again"
    yield _fenced(recipe.text, "yaml")
    yield _fenced("loramerge run recipe.yaml", "bash")


def _columns(recipe: Recipe) -> str:
    if len(recipe.loras) == 1:
        return "The base, the LoRA alone, and the merge"
    return "The base, each LoRA alone, all of them stacked, and the merge"


def _lora(lora: Mapping[str, Any]) -> tuple[str, ...]:
    source = _code(shown(lora["source"])) + (f" at {_code(lora['revision'])}" if lora["revision"] else "")
    weight = single(lora["weight"])
    numbers = _code(json.dumps(lora["weight"])) if weight is None else f"{weight:g}"
    return lora["name"], source, numbers, ", ".join(lora["ranks"])


def _method(merge: Mapping[str, Any]) -> str:
    given = {key: value for key, value in merge.items() if key not in {"combination_type", "engine"}}
    settings = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in given.items() if value is not None)
    return f"`{merge['combination_type']}`" + (f" with {settings}" if settings else "")


def _fidelity(entry: tuple[str, Mapping[str, Any]]) -> tuple[str, ...]:
    component, part = entry
    ranks = sorted(Counter(module["rank"] for module in part["modules"].values()))
    error = "nothing to compare with" if part["error"] is None else f"{part['error']:.1e}"
    return component, error, ", ".join(map(str, ranks))


def _overlap(pair: Mapping[str, Any]) -> tuple[str, ...]:
    values = (pair["cosine"], pair["column_overlap"], pair["row_overlap"], pair["sign_conflict"])
    cosine, columns, rows, signs = ("none" if value is None else f"{round(value, 2) + 0.0:.2f}" for value in values)
    return " and ".join(pair["loras"]), cosine, f"{columns}, {rows}", signs


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _code(text: str) -> str:
    """Code within a line, whatever it holds."""
    text = " ".join(text.split())
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _fenced(text: str, language: str) -> str:
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
