"""How to load each output of an artifact, to check it and to make it again, in code that runs as it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loramerge.families import TRANSFORMERS_COMPONENT, loading_class, published
from loramerge.formats.loading import Address, Facts, Snippet, arguments
from loramerge.reports.markdown import code, fenced
from loramerge.sources.path import is_relative

if TYPE_CHECKING:
    from loramerge.recipe import Recipe


_PROMPT = "a photograph of a fox"


def snippets(recipe: Recipe, report: Mapping[str, Any], trigger_phrases: Sequence[str] = ()) -> Iterator[Snippet]:
    """One or more for each output.

    Args:
        recipe: Names outputs and targets.
        report: As in report.json.
        trigger_phrases: What the inputs say to put into a prompt.
    """
    model = is_model(report)
    facts = Facts(
        recipe=recipe.name,
        base=_base(recipe, report),
        base_import=f"from {'transformers' if model else 'diffusers'} import {_loader(report)}",
        variable=_variable(report),
        components=list(report["fidelity"]),
        loras={lora["name"]: list(lora["modules"]) for lora in report["loras"]},
        drawing=_drawing(recipe, trigger_phrases),
    )
    for output in recipe.outputs:
        yield from output.snippets(_place(recipe, output.folder), facts)


def is_model(report: Mapping[str, Any]) -> bool:
    """Whether the base is a lone model of transformers."""
    return TRANSFORMERS_COMPONENT in report["fidelity"]


def verification(recipe: Recipe) -> str:
    """The command that checks an artifact: where it is published first, or in the folder of the card."""
    return f"loramerge verify {next((target.reference for target in recipe.publish if target.reference), '.')}"


def strength(recipe: Recipe, report: Mapping[str, Any]) -> Iterator[str]:
    """How strongly to apply the merged LoRA, in words."""
    if not any(output.holds_merged_lora for output in recipe.outputs):
        return
    if is_model(report):
        yield "The weights of its LoRAs are in it already: PEFT applies it at strength 1 by itself."
    else:
        yield (
            "Use it at strength 1: the weights of its LoRAs are in it already. That is what diffusers and PEFT do by "
            f"themselves; in A1111 and Forge it is {code(f'<lora:{recipe.name}:1>')} in the prompt, in ComfyUI 1.0 for "
            "model and clip. Less makes all of it weaker."
        )


def again(recipe: Recipe) -> Iterator[str]:
    """How to make the artifact again, from the folder of the card, with nothing written into that."""
    if relative := [*dict.fromkeys(filter(is_relative, recipe.sources))]:
        where = ", ".join(map(code, relative))
        yield (
            f"From the folder of this card, with `FOLDER` for the folder in which {where} lie. "
            "`loramerge verify . --rebuild --recipe FOLDER` compares the two as well, and holds the inputs to the "
            "lock."
        )
        yield fenced(f"(cd FOLDER && loramerge run - --no-publish --out {recipe.name}-again) < recipe.yaml", "bash")
        return
    yield "From the folder of this card; `recipe.lock.yaml` beside it holds the inputs to what they were."
    yield fenced(f"loramerge run recipe.yaml --no-publish --out ../{recipe.name}-again", "bash")


def base_id(recipe: Recipe) -> str | None:
    """`owner/name` of a base on the Hub."""
    source = recipe.base.source or ""
    return "/".join(source.removeprefix("hf://").split("/")[:2]) if source.startswith("hf://") else None


def _place(recipe: Recipe, output: str) -> Address:
    """The first target from which others can load the output, or else the folder of the card."""
    places = (target.place(output, recipe.folders) for target in recipe.publish)
    return next((place for place in places if place is not None), Address(None, None, output))


def _base(recipe: Recipe, report: Mapping[str, Any]) -> str:
    """The base at the commit that was used."""
    options = {"revision": report["base"]["revision"], "variant": recipe.base.variant}
    given = {key: value for key, value in options.items() if value}
    place = base_id(recipe) or recipe.base.source or published(recipe.base.family or "")[2].repository
    return f"{_variable(report)} = {_loader(report)}.from_pretrained({arguments(place, **given)})"


def _variable(report: Mapping[str, Any]) -> str:
    return "model" if is_model(report) else "pipeline"


def _loader(report: Mapping[str, Any]) -> str:
    return loading_class(report["base"]["family"]) if is_model(report) else "DiffusionPipeline"


def _drawing(recipe: Recipe, trigger_phrases: Sequence[str]) -> str:
    """The arguments of a call that draws: those of the first picture of the preview, where there is one."""
    preview = recipe.preview
    if preview is None:
        return arguments(", ".join(trigger_phrases) or _PROMPT)
    given = {"negative_prompt": preview.negative_prompt} if preview.negative_prompt else {}
    size = {"width": preview.width, "height": preview.height}
    numbers = {"num_inference_steps": preview.steps, "guidance_scale": preview.guidance_scale, **size}
    return ", ".join([
        arguments(preview.prompts[0], **given),
        *(f"{name}={value}" for name, value in numbers.items() if value is not None),
        f"generator=torch.Generator().manual_seed({preview.seeds[0]})",
    ])  # fmt: skip
