"""Whether the outputs of a recipe, and the place of one, can hold its merge, before there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramerge.errors import MismatchError, UsageError
from loramerge.formats.embeddings import token_of
from loramerge.messages import counted, some
from loramerge.stages.load import weighed

if TYPE_CHECKING:
    from pathlib import Path

    from loramerge.formats.output import Output
    from loramerge.recipe import Recipe
    from loramerge.stages.load import Loaded


def check_outputs(recipe: Recipe, loaded: Loaded) -> None:
    """Raise before anything is merged where an output can't hold the merge.

    Raises:
        MismatchError: It has no names for the base's family, or for a component that LoRAs touch, or no room for what
            was trained in full, or for what no low-rank pair holds.
    """
    every = dict.fromkeys(component for lora in loaded.loras for component in lora.adapter.components)
    merged = dict.fromkeys(
        component
        for adapter, weigh in weighed(loaded).values()
        for component, modules in adapter.components.items()
        if any(weigh(component, module) != 0 for module in modules)
    )
    for output in recipe.outputs:
        output.check(loaded.base, [*(every if output.copies_inputs else merged)])
    _check_dense(recipe, loaded)
    _check_parameters(recipe, loaded)
    saved = {lora.name: [name for _, name, _ in lora.adapter.each_saved()] for lora in loaded.loras}
    for lora, names in saved.items():
        for output in recipe.outputs if names else ():
            if not output.holds_saved:
                raise MismatchError(
                    f"LoRA {lora} has parameters that were trained in full ({some(names)}), and the output "
                    f"{output.folder} has no room for them",
                    hint="write `kind: adapter` with `format: peft`, or leave the LoRA out",
                )


def _check_dense(recipe: Recipe, loaded: Loaded) -> None:
    """What no low-rank pair holds goes into the merge, unless that is decomposed, and into copies of the inputs."""
    dense = [
        (lora.name, f"{component}.{module}", pair)
        for lora in loaded.loras
        for component, module, pair in lora.adapter
        if pair.is_dense and pair.is_layer
    ]
    for output in recipe.outputs:
        takes = output.copies_inputs or any(rule.decomposition is None for rule in recipe.merge.rules)
        fits = output.holds_rescaled and all(pair.is_rescaled for *_, pair in dense)
        if dense and takes and not (output.holds_dense or fits):
            lora, module, kind = next(
                (name, module, pair.kind)
                for name, module, pair in dense
                if not (output.holds_rescaled and pair.is_rescaled)
            )
            count = sum(name == lora for name, *_ in dense)
            others = "write `kind: model`, or `format: kohya` or `comfyui`, which hold full differences"
            raise MismatchError(
                f"LoRA {lora} has {counted(count, 'module')} that no low-rank pair holds, first {module} ({kind}), and "
                f"the output {output.folder} can hold none",
                hint=others if output.copies_inputs else f"cut the merge to a rank (`svd` with svd_rank), or {others}",
            )


def check_form(output: Output, place: Path) -> None:
    """Raise where a place has the name of a file, and the output is a folder, or the other way round.

    Raises:
        UsageError: It has.
    """
    if output.is_one_file is not (place.suffix == ".safetensors"):
        what, name = ("one file", "a folder") if output.is_one_file else ("a folder", "a file")
        raise UsageError(
            f"the format {output.default_folder} is {what}, and {place.name} is the name of {name}",
            hint="the name of a file ends in .safetensors, that of a folder does not",
        )


def check_count(recipe: Recipe, loaded: Loaded) -> None:
    """Raise where one place would have to take two files.

    Raises:
        MismatchError: The LoRAs are for two denoisers, or bring what the file has no room for.
    """
    touched = {component for lora in loaded.loras for component in lora.adapter.components}
    if (count := recipe.outputs[0].count(loaded.base, touched)) > 1:
        raise MismatchError(
            f"the LoRAs are for {count} denoisers of {loaded.base.family.title}, and each has a file of its own",
            hint="take those of one denoiser at a time, or write a recipe: `run` writes a file for each",
        )
    output = recipe.outputs[0]
    bringing = next((lora for lora in loaded.loras if lora.adapter.embeddings), None)
    if bringing is not None and output.is_one_file and not output.holds_embeddings:
        tokens = dict.fromkeys(map(token_of, bringing.adapter.embeddings))
        raise MismatchError(
            f"LoRA {bringing.name} brings textual inversions ({some(tokens)}), and a file of `format: "
            f"{output.default_folder}` has no room for them",
            hint="write `kohya` or `comfyui`, which hold them, or a recipe: `run` writes them beside the file",
        )


def _check_parameters(recipe: Recipe, loaded: Loaded) -> None:
    """What is added to norms, biases and the like is never cut to a rank, and goes into every output."""
    for lora in loaded.loras:
        others = [(f"{component}.{key}", pair.kind) for component, key, pair in lora.adapter if not pair.is_layer]
        for output in recipe.outputs if others else ():
            if not output.holds_dense:
                where, kind = others[0]
                raise MismatchError(
                    f"LoRA {lora.name} changes {counted(len(others), 'parameter')} beside the weights of layers "
                    f"(norms, biases or the like), first {where} ({kind}), and the output {output.folder} can hold "
                    "none",
                    hint="write `kind: model`, or `format: comfyui` or `kohya`, which hold them",
                )
            output.check_parameters(lora.name, lora.adapter, loaded.base)
