"""How to load each output of an artifact, to check it and to make it again, in code that runs as it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loramerge.bases.pipeline_class import start_of, task_of
from loramerge.families import TRANSFORMERS_COMPONENT, model_family, named, published
from loramerge.formats.loading import Address, Facts, Snippet, arguments, literal, named_arguments
from loramerge.formats.pipeline_code import SINGLE_FILES, CheckpointCode, PipelineCode
from loramerge.reports.markdown import code, fenced
from loramerge.sources.path import is_relative
from loramerge.sources.source import shown

if TYPE_CHECKING:
    from loramerge.families import Family
    from loramerge.recipe import Recipe


_PROMPT = "a photograph of a fox"
# What these make comes in `image`, and not in `images` as of all others (diffusers 0.42).
_ONE_IMAGE = {"Kandinsky5T2IPipeline", "Kandinsky5I2IPipeline"}


def snippets(recipe: Recipe, report: Mapping[str, Any], trigger_phrases: Sequence[str] = ()) -> Iterator[Snippet]:
    """One or more for each output.

    Args:
        recipe: Names outputs and targets.
        report: As in report.json.
        trigger_phrases: What the inputs say to put into a prompt.
    """
    facts = Facts(
        recipe=recipe.name,
        base=_base(recipe, report),
        pipeline=_pipeline(recipe, report, trigger_phrases),
        family=family_of(report),
        components=list(report["fidelity"]),
        denoisers=report["base"]["denoisers"],
        loras={lora["name"]: list(lora["modules"]) for lora in report["loras"]},
        parts=_held(report),
        single_file=_opens_file(report),
        model_class=report["base"].get("class", ""),
        pictured=recipe.preview is not None,
    )
    for output in recipe.outputs:
        yield from output.snippets(_place(recipe, output.folder), facts)


def family_of(report: Mapping[str, Any]) -> Family:
    """The base's."""
    return (model_family if _is_model(report) else named)(report["base"]["family"])


def _is_model(report: Mapping[str, Any]) -> bool:
    """Whether the base is a lone model of transformers."""
    return TRANSFORMERS_COMPONENT in report["base"]["denoisers"]


def verification(recipe: Recipe) -> str:
    """The command that checks an artifact: where it is published first, or in the folder of the card."""
    return f"loramerge verify {next((target.reference for target in recipe.publish if target.reference), '.')}"


def task(report: Mapping[str, Any]) -> str:
    """The Hub's task of what the base is for; empty where that is not known."""
    return task_of(report["base"]["pipeline"], family_of(report).card.pipeline_tag)


def strength(recipe: Recipe, report: Mapping[str, Any]) -> Iterator[str]:
    """How strongly to apply the merged LoRA, in words."""
    if not any(output.holds_merged_lora for output in recipe.outputs):
        return
    family = family_of(report)
    said = [f"That is what {'PEFT does by itself' if _is_model(report) else 'diffusers and PEFT do by themselves'}"]
    if family.card.webuis:
        said.append(f"in {' and '.join(family.card.webuis)} it is {code(f'<lora:{recipe.name}:1>')} in the prompt")
    if family.has_original_names:
        clip = " and clip" if family.text_encoders else ""
        said.append(f"in ComfyUI {'' if family.card.webuis else 'it is '}1.0 for model{clip}")
    whole = "; ".join([said[0], ", ".join(said[1:])]) if said[1:] else said[0]
    yield f"Use it at strength 1: the weights of its LoRAs are in it already. {whole}. Less makes all of it weaker."


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


def repository(recipe: Recipe) -> str | None:
    """`owner/name` of what a base was published as that the recipe names by its family alone."""
    return published(recipe.base.family)[2].repository if recipe.base.family else None


def _place(recipe: Recipe, output: str) -> Address:
    """The first target from which others can load the output, or else the folder of the card."""
    places = (target.place(output, recipe.folders) for target in recipe.publish)
    return next((place for place in places if place is not None), Address(None, None, output))


def _base(recipe: Recipe, report: Mapping[str, Any]) -> str:
    """What `from_pretrained` takes for the base at the commit that was used."""
    if recipe.base.is_file:
        return _single_file(recipe, report)
    options = {"revision": report["base"]["revision"], "variant": recipe.base.variant}
    given = {key: value for key, value in options.items() if value}
    return arguments(base_id(recipe) or recipe.base.source or repository(recipe) or "", **given)


def _single_file(recipe: Recipe, report: Mapping[str, Any]) -> str:
    """What `from_single_file` takes for a base that is one file; where diffusers opens none, its published pipeline."""
    if not _opens_file(report):
        return arguments(_rest(report))
    source = shown(recipe.base.source or "")
    if (repo := base_id(recipe)) is None:
        return literal(source)
    return Address(repo, report["base"]["revision"], "").file(source.removeprefix(f"hf://{repo}/"))


def _held(report: Mapping[str, Any]) -> Sequence[str]:
    """What the base's one file holds of what LoRAs can touch; nothing where it is a folder."""
    found: Sequence[str] = report["base"].get("file", {}).get("parts", ())
    return found


def _opens_file(report: Mapping[str, Any]) -> bool:
    """Whether the base is a file that diffusers opens."""
    return bool(_held(report)) and (_is_whole(report) or family_of(report).classes[0] in SINGLE_FILES)


def _is_whole(report: Mapping[str, Any]) -> bool:
    """Whether the base is a file that holds all parts of a pipeline."""
    return bool(family_of(report).card.opens_file) and len(_held(report)) > 1


def _rest(report: Mapping[str, Any]) -> str:
    """`owner/name` of the published pipeline of which the base's file is the denoiser."""
    family, size = family_of(report), report["base"]["file"]["size"]
    return next(iter([family.published[size]] if size else family.published.values())).repository


def _pipeline(recipe: Recipe, report: Mapping[str, Any], trigger_phrases: Sequence[str]) -> PipelineCode:
    family, pipeline = family_of(report), report["base"]["pipeline"]
    if _is_model(report):
        return PipelineCode.of_model(family.card.opens, task(report), recipe.name)
    # A family whose pipelines all start from pictures, and no pipeline that would say from what else.
    known = pipeline or family.card.pipeline_tag.startswith("text-to-")
    results = {"image": "images", "video": "frames", "audio": "audios"}
    if family.card.opens == "ModularPipeline":
        results["video"] = "videos"
    result = results.get(task(report).rpartition("-")[2], "")
    code = PipelineCode(
        opens=family.card.opens,
        dtype="" if "unet" in family.denoisers else "bfloat16",
        task=task(report),
        call=_call(recipe, family, trigger_phrases) if known and result and start_of(pipeline) != "more" else "",
        result="image" if pipeline in _ONE_IMAGE else result,
        file=recipe.name,
    )
    if not _opens_file(report):
        return code
    if _is_whole(report):
        return CheckpointCode(**{**vars(code), "opens": family.card.opens_file})
    denoiser = report["base"]["denoisers"][0], family.classes[0]
    return CheckpointCode(**vars(code), denoiser=denoiser, rest=_rest(report))


def _call(recipe: Recipe, family: Family, trigger_phrases: Sequence[str]) -> str:
    """The arguments of a call that makes something: those of the first picture of the preview, where there is one."""
    preview = recipe.preview
    if preview is None:
        return named_arguments(prompt=", ".join(trigger_phrases) or _PROMPT)
    given = {"prompt": preview.prompts[0]}
    if negative := preview.negative_prompt or family.card.no_negative_prompt:
        given["negative_prompt"] = negative
    size = {"width": preview.width, "height": preview.height}
    numbers = {"num_inference_steps": preview.steps, family.card.guidance: preview.guidance_scale, **size}
    return ", ".join([
        named_arguments(**given),
        *(f"{name}={value}" for name, value in numbers.items() if value is not None),
        f"generator=torch.Generator().manual_seed({preview.seeds[0]})",
    ])  # fmt: skip
