"""Stage: the base with the merged LoRA fused in, as a pipeline that needs no LoRA any more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.errors import LoramergeError, SourceError
from loramerge.tensors import opened
from loramerge.threads import one_thread
from loramerge.upstream import quiet
from loramerge.words import some

if TYPE_CHECKING:
    import torch
    from torch import nn

    from loramerge.adapter import Adapter, LowRank
    from loramerge.base import Base
    from loramerge.pipeline_files import PipelineFiles
    from loramerge.recipe.outputs import PipelineOutput

_STORED = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def fuse(files: PipelineFiles, base: Base, adapter: Adapter, output: PipelineOutput, folder: Path) -> None:
    """Write the fused pipeline.

    Weights are loaded as the base's files have them. Where the LoRA touches one, the sum is formed in float32 and
    rounded once, to the output's dtype; all others are converted to it. Tokenizers, schedulers and the like are copied.

    Args:
        files: The base's, weights included.
        base: The base without its weights.
        adapter: The merged LoRA.
        output: dtype, scale and shard size.
        folder: Where to; it exists and is empty.

    Raises:
        SourceError: The base's weights can't be loaded.
        LoramergeError: A sum does not fit the dtype, or the folder can't be written.
    """
    with quiet():
        pipeline = _load(files, base.reference)
        for component in base.components:
            _check_complete(getattr(pipeline, component), files.weights(component), f"{base.reference}/{component}")
        for component, modules in adapter.components.items():
            model = getattr(pipeline, component)
            for module, pair in modules.items():
                layer = model.get_submodule(base.components[component].live[module])
                _add(layer, pair, output, f"{component}.{module}")
        try:
            if output.dtype is not None:
                pipeline.to(dtype=_dtype(output.dtype))
            pipeline.save_pretrained(folder, max_shard_size=output.max_shard_size, safe_serialization=True)
            _tidy(files.folder, folder)
        except NotImplementedError as error:  # torch's, for what was never loaded
            raise SourceError(f"{base.reference} lacks weights: {error}", hint="fetch the base again") from None
        except OSError as error:
            raise LoramergeError(f"{folder} can't be written: {error.strerror or error}") from None


def _check_complete(model: nn.Module, weights: Iterable[Path], shown: str) -> None:
    """Transformers fills weights that a file lacks with random numbers, and only warns."""
    stored = set()
    for path in weights:
        with opened(path, f"{shown}/{path.name}") as file:
            stored |= {key.removeprefix("text_model.") for key in file.keys}
    wanted = {name.removeprefix("text_model.") for name, _ in model.named_parameters()}
    missing = sorted(wanted - stored)
    if missing:
        raise SourceError(f"{shown} lacks {some(missing)}", hint="fetch the base again, or choose another revision")


def _load(files: PipelineFiles, reference: str) -> Any:
    from diffusers import DiffusionPipeline
    from safetensors import SafetensorError

    components = sorted({name.partition("/")[0] for name in files.names if "/" in name})
    dtypes = {name: _dtype(_stored_dtype(weights[0])) for name in components if (weights := files.weights(name))}
    try:
        return DiffusionPipeline.from_pretrained(
            files.folder,
            variant=files.variant,
            torch_dtype={"default": _dtype("float32"), **dtypes},
            use_safetensors=True,
            local_files_only=True,
        )
    except (AttributeError, LookupError, OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise SourceError(
            f"{reference} can't be loaded as a pipeline: {str(error).splitlines()[0]}",
            hint="check that DiffusionPipeline.from_pretrained loads it",
        ) from None


def _stored_dtype(weights: Path) -> str:
    """The number format of a component's weights."""
    with opened(weights) as file:
        formats = {file.dtype(key) for key in file.keys} & set(_STORED)
    return _STORED["F32" if "F32" in formats else min(formats, default="F32")]


def _add(layer: nn.Module, pair: LowRank, output: PipelineOutput, module: str) -> None:
    import torch

    weight = layer.weight
    if not isinstance(weight, torch.nn.Parameter):
        raise LoramergeError(f"{module} has no weight to add to")
    with one_thread():
        delta = (pair.up.flatten(1) * pair.scale) @ pair.down.flatten(1)
    summed = weight.data.float().add_(delta.reshape(weight.shape), alpha=output.lora_scale)
    rounded = summed.to(_dtype(output.dtype) if output.dtype else weight.dtype)
    if not rounded.isfinite().all():
        raise LoramergeError(
            f"{module}: base plus LoRA is more than {rounded.dtype} can hold".replace("torch.", ""),
            hint="lower lora_scale, or write the pipeline with dtype: bfloat16 or float32",
        )
    weight.data = rounded


def _tidy(source: Path, folder: Path) -> None:
    """Whatever has no weights is the source's own, and no config tells where it lay."""
    for component in sorted(path for path in folder.iterdir() if path.is_dir()):
        if not list(component.glob("*.safetensors")):
            shutil.rmtree(component)
            shutil.copytree(source / component.name, component, copy_function=shutil.copyfile)
    for config in sorted([*folder.glob("*.json"), *folder.glob("*/config.json")]):
        settings = json.loads(config.read_text(encoding="utf-8"))
        if settings.pop("_name_or_path", None) is not None:
            config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _dtype(name: str) -> torch.dtype:
    import torch

    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[name]
