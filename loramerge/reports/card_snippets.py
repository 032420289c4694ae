"""How to load each output of an artifact, in code that runs as it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loramerge.formats.diffusers import FILE as DIFFUSERS_FILE
from loramerge.formats.diffusers import DiffusersOutput
from loramerge.formats.kohya import KohyaOutput
from loramerge.formats.peft import PeftOutput
from loramerge.recipe.outputs import InputsOutput, PipelineOutput
from loramerge.targets import HubTarget

if TYPE_CHECKING:
    from loramerge.recipe import Recipe
    from loramerge.recipe.outputs import Output

_IMPORT = "from diffusers import DiffusionPipeline"


@dataclass(frozen=True)
class Snippet:
    """One way to load something.

    Attributes:
        title: What it is for.
        language: `python` or `bash`.
        code: Runs as it stands; paths start at the artifact's folder.
    """

    title: str
    language: str
    code: str


@dataclass(frozen=True)
class _Place:
    """Where an output is to be had.

    Attributes:
        repo: On the Hub; None where it lies beside the card alone.
        revision: Tag or branch; None for the default branch.
        folder: Below the repository's root, or below the card's folder.
    """

    repo: str | None
    revision: str | None
    folder: str

    def path(self, name: str = "") -> str:
        """A file or folder of the output."""
        return "/".join(filter(None, (self.folder, name)))

    def arguments(self, name: str = "", **more: str) -> str:
        """What `from_pretrained` and its like take to find a folder of the output."""
        path = self.path(name)
        if self.repo is None:
            return _arguments(path or ".", **more)
        options = {"subfolder": path, "revision": self.revision}
        return _arguments(self.repo, **{key: value for key, value in options.items() if value}, **more)


def snippets(recipe: Recipe, report: Mapping[str, Any]) -> Iterator[Snippet]:
    """One for each output, and for each LoRA in an output of kind `inputs`.

    Args:
        recipe: Names outputs and targets.
        report: As in report.json.
    """
    for output in recipe.outputs:
        place = _place(recipe, output)
        match output:
            case PeftOutput():
                yield _peft(f"PEFT: `{output.folder}`", recipe, report, place, {name: name for name in _merged(report)})
            case DiffusersOutput():
                load = f"pipeline.load_lora_weights({place.arguments(weight_name=DIFFUSERS_FILE)})"
                yield _python(f"diffusers: `{output.folder}`", _IMPORT, "", _base(recipe, report), load)
            case KohyaOutput():
                yield _comfy(f"ComfyUI, A1111: `{output.folder}`", recipe, place)
            case PipelineOutput():
                yield _pipeline(f"diffusers, without any LoRA: `{output.folder}`", place)
            case InputsOutput():
                for lora in report["loras"]:
                    folders = {name: _input_folder(lora["name"], name) for name in lora["modules"]}
                    yield _peft(f"PEFT: `{output.folder}`, {lora['name']} alone", recipe, report, place, folders)


def verification(recipe: Recipe) -> str:
    """The commands that check an artifact: where it is published first, or in the folder of the card."""
    for target in recipe.publish:
        if isinstance(target, HubTarget):
            branch = None if target.revision == "main" else target.revision
            revision = target.tag or branch
            return f"loramerge verify hf://{target.repo}{f'@{revision}' if revision else ''}"
    return "loramerge verify ."


def _place(recipe: Recipe, output: Output) -> _Place:
    """The first Hub repository that has the output, or else the folder of the card."""
    for target in recipe.publish:
        if isinstance(target, HubTarget):
            names = target.outputs if target.outputs is not None else [each.folder for each in recipe.outputs]
            if output.folder in names:
                branch = None if target.revision == "main" else target.revision
                return _Place(target.repo, target.tag or branch, "" if len(names) == 1 else output.folder)
    return _Place(None, None, output.folder)


def _peft(title: str, recipe: Recipe, report: Mapping[str, Any], place: _Place, folders: Mapping[str, str]) -> Snippet:
    lines = [
        f"pipeline.{component} = PeftModel.from_pretrained(pipeline.{component}, {place.arguments(folder)})"
        for component, folder in folders.items()
    ]
    return _python(title, _IMPORT, "from peft import PeftModel", "", _base(recipe, report), *lines)


def _pipeline(title: str, place: _Place) -> Snippet:
    if place.repo is None or not place.folder:
        return _python(title, _IMPORT, "", f"pipeline = DiffusionPipeline.from_pretrained({place.arguments()})")
    # diffusers takes a pipeline from the root of a repository alone
    options = {"revision": place.revision} if place.revision else {}
    fetch = _arguments(place.repo, **options, allow_patterns=f"{place.folder}/*")
    return _python(
        title,
        _IMPORT,
        "from huggingface_hub import snapshot_download",
        "",
        f"folder = snapshot_download({fetch})",
        f'pipeline = DiffusionPipeline.from_pretrained(f"{{folder}}/{place.folder}")',
    )


def _comfy(title: str, recipe: Recipe, place: _Place) -> Snippet:
    path, folder = place.path(f"{recipe.name}.safetensors"), "ComfyUI/models/loras"
    if place.repo is None:
        return Snippet(title, "bash", f"cp {path} {folder}/")
    revision = f" --revision {place.revision}" if place.revision else ""
    return Snippet(title, "bash", f"hf download {place.repo} {path}{revision} --local-dir {folder}")


def _base(recipe: Recipe, report: Mapping[str, Any]) -> str:
    """The base at the commit that was used."""
    options = {"revision": report["base"]["revision"], "variant": recipe.base.variant}
    given = {key: value for key, value in options.items() if value}
    return f"pipeline = DiffusionPipeline.from_pretrained({_arguments(base_id(recipe) or recipe.base.source, **given)})"


def base_id(recipe: Recipe) -> str | None:
    """`owner/name` of a base on the Hub."""
    source = recipe.base.source
    return "/".join(source.removeprefix("hf://").split("/")[:2]) if source.startswith("hf://") else None


def _merged(report: Mapping[str, Any]) -> list[str]:
    return list(report["fidelity"])


def _input_folder(lora: str, component: str) -> str:
    return lora if component == "unet" else f"{lora}/{component}"


def _python(title: str, *lines: str) -> Snippet:
    return Snippet(title, "python", "\n".join(lines))


def _arguments(first: str, **named: str) -> str:
    return ", ".join([_literal(first), *(f"{key}={_literal(value)}" for key, value in named.items())])


def _literal(text: str) -> str:
    """A Python string in double quotes."""
    return json.dumps(text, ensure_ascii=False)
