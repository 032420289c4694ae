"""The door to diffusers' pipelines: load one, give it LoRAs, draw."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from loramerge.adapter import Adapter
from loramerge.bases import model_index
from loramerge.bases.model_index import ModelIndex
from loramerge.errors import SourceError
from loramerge.files.reading import read_json
from loramerge.formats import DiffusersOutput, Labels
from loramerge.messages import counted, some
from loramerge.previews.blank import pipeline_class
from loramerge.previews.parameters import ChangedParameters

if TYPE_CHECKING:
    from PIL import Image

    from loramerge.bases.base import Base
    from loramerge.previews.columns import ActiveLora, PipelineFolder
    from loramerge.previews.prompts import Shot
    from loramerge.recipe import Preview

_ROOM = 1.5
"""How much free memory a pipeline wants on the GPU, in sizes of its weights: activations and the VAE's float32."""


_TEXT_MODULES = (".q_proj", ".k_proj", ".v_proj", ".out_proj", ".fc1", ".fc2")
"""All that `load_lora_weights` takes in a text encoder."""


class DrawingPipeline:
    """A pipeline that draws. float32 on the CPU; on CUDA float16 for a UNet, and bfloat16 for a transformer.

    Args:
        source: The pipeline.
        base: What it was before LoRAs were fused into it, without weights.
        preview: How to draw.
        device: `cpu` or `cuda`.

    Raises:
        SourceError: The folder can't be loaded as a pipeline.
    """

    def __init__(self, source: PipelineFolder, base: Base, preview: Preview, device: str) -> None:
        self._base = base
        self._preview = preview
        self._names: dict[ActiveLora, str] = {}
        self._pipeline = _loaded(source, base, device)
        self._changed = ChangedParameters(self._pipeline, base)
        _save_memory(self._pipeline, preview, device)
        if preview.compile:
            _compile(self._pipeline, base.main)

    def set_loras(self, loras: Sequence[ActiveLora], later: Collection[ActiveLora] = ()) -> tuple[str, ...]:
        """Draw with these LoRAs, by `load_lora_weights` and `set_adapters`, instead of those before.

        A pipeline that has no such method has a denoiser with its like.

        Args:
            loras: What is loaded already is not loaded again.
            later: What pictures are drawn with later: it may stay loaded meanwhile, switched off by `set_adapters`.

        What one adds to norms, biases and the like, for which PEFT has no place, goes into the models themselves.

        Returns:
            What diffusers leaves out, in words.
        """
        import torch

        self._changed.set(loras)
        taken = {lora: adapter for lora in loras if len(adapter := self._taken(lora.adapter))}
        if not taken or not self._names.keys() <= {*taken, *later}:
            self._unload()
        for lora, adapter in taken.items():
            if lora not in self._names:
                self._load(lora, adapter)
        if taken:
            self._lora_loader.set_adapters([self._names[lora] for lora in taken], [lora.weight for lora in taken])
        if self._preview.compile:
            torch.compiler.reset()  # what was compiled is for other LoRAs, and Dynamo keeps no more than a few
        return tuple(note for lora in loras for note in self._left_out(lora))

    def draw(self, shots: Sequence[Shot], size: tuple[int, int]) -> Sequence[Image.Image]:
        """Pictures of several rows at once, each from a generator of its own.

        Args:
            shots: The rows.
            size: Width and height in pixels.
        """
        import torch

        card, takes = self._base.family.card, inspect.signature(type(self._pipeline).__call__).parameters
        # An empty negative prompt is not None: SDXL would encode it instead of taking zeros.
        negative = self._preview.negative_prompt or card.no_negative_prompt
        options = {
            **({"negative_prompt": [negative] * len(shots)} if negative else {}),
            card.guidance: self._preview.guidance_scale,
            "width": size[0],
            "height": size[1],
        }
        drawn = self._pipeline(
            prompt=[shot.prompt for shot in shots],
            num_inference_steps=self._preview.steps,
            # The noise is drawn on the CPU, where a seed means the same on every machine.
            generator=[torch.Generator("cpu").manual_seed(shot.seed) for shot in shots],
            **{name: value for name, value in options.items() if name in takes},
        )
        pictures: Sequence[Image.Image] = drawn[0] if isinstance(drawn, tuple) else next(iter(drawn.values()))
        return pictures

    def close(self) -> None:
        """Give the memory back: the next pipeline needs it."""
        import torch

        # A pipeline holds references to itself, and to look for such among all objects of the libraries takes 0.3 s.
        for model in filter(lambda each: isinstance(each, torch.nn.Module), self._pipeline.components.values()):
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.data = tensor.data.new_empty(0)
        del self._pipeline, self._changed
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def _denoiser(self) -> Any:
        return getattr(self._pipeline, self._base.main)

    @property
    def _takes_loras(self) -> bool:
        """Whether the pipeline itself has methods for LoRAs, and not its denoiser alone."""
        return self._base.family.card.loads == "pipeline"

    @property
    def _lora_loader(self) -> Any:
        """What has `set_adapters`: the pipeline, or its denoiser."""
        return self._pipeline if self._takes_loras else self._denoiser

    def _load(self, lora: ActiveLora, taken: Adapter) -> None:
        """Load what diffusers takes of a LoRA from a file in its format, so that it is read as any other."""
        name = f"lora_{len(self._names)}"
        with TemporaryDirectory(prefix="loramerge-") as folder:
            DiffusersOutput(kind="adapter", format="diffusers").write_adapter(
                taken, self._base, Labels(name), Path(folder)
            )
            file = next(Path(folder).iterdir())
            load = self._pipeline.load_lora_weights if self._takes_loras else self._denoiser.load_lora_adapter
            load(folder, weight_name=file.name, adapter_name=name)
        self._names[lora] = name

    def _unload(self) -> None:
        if self._names:
            (self._pipeline.unload_lora_weights if self._takes_loras else self._denoiser.unload_lora)()
        self._names = {}

    def _taken(self, adapter: Adapter) -> Adapter:
        """The LoRA without what makes diffusers' loader fail (0.42, loaders/lora_base.py), or what it has no place for.

        That is most of what a text encoder has, and all of some.
        """
        loadable = {self._base.main, *getattr(self._pipeline, "_lora_loadable_modules", ())}
        if not self._takes_loras:
            loadable = {self._base.main}
        return Adapter(
            {
                component: {
                    name: pair
                    for name, pair in modules.items()
                    if component in loadable
                    and pair.is_layer
                    and (not component.startswith("text_encoder") or name.endswith(_TEXT_MODULES))
                }
                for component, modules in adapter.components.items()
            }
        )

    def _left_out(self, lora: ActiveLora) -> list[str]:
        """What the pipeline does without: diffusers says so in its log at best."""
        missing = [
            f"{component}.{module}"
            for component, module, pair in lora.adapter
            if pair.is_layer
            and self._names.get(lora) not in self._names_at(component, self._base.components[component].live[module])
        ]
        if not missing:
            return []
        modules = counted(len(missing), "module")
        return [f"pictures of {lora.name} lack {modules} that diffusers' loader does not take: {some(missing)}"]

    def _names_at(self, component: str, module: str) -> Any:
        """The adapters that a module has."""
        return getattr(getattr(self._pipeline, component).get_submodule(module), "lora_A", ())


def _loaded(source: PipelineFolder, base: Base, device: str) -> Any:
    import torch

    place = source.folder / model_index.FILE
    index = ModelIndex.parse(read_json(place, str(place)), str(source.folder))
    on_cuda = torch.float16 if base.main == "unet" else torch.bfloat16
    # Stable Diffusion 1 names a safety checker that few folders hold; it has no say in what a LoRA does.
    absent = {name: None for name in index.classes if name == "safety_checker" and not (source.folder / name).is_dir()}
    try:
        pipeline = pipeline_class(index.plain).from_pretrained(
            source.folder,
            dtype=torch.float32 if device == "cpu" else on_cuda,
            variant=source.variant,
            use_safetensors=True,
            local_files_only=True,
            **absent,
        )
    except (AttributeError, OSError, ValueError, NotImplementedError) as error:
        raise SourceError(f"{source.folder} can't be loaded as a pipeline: {error}") from None
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _save_memory(pipeline: Any, preview: Preview, device: str) -> None:
    if hasattr(pipeline, "vae"):
        pipeline.vae.enable_slicing()  # one picture at a time: the largest peak of a batch, and next to no time
        if preview.memory == "tiled":
            pipeline.vae.enable_tiling()
    if device == "cuda" and (preview.memory in ("offload", "tiled") or (preview.memory == "auto" and _tight(pipeline))):
        pipeline.enable_model_cpu_offload()
    else:
        pipeline.to(device)


def _tight(pipeline: Any) -> bool:
    """Whether a pipeline's weights, and room to draw, are more than the free memory of the GPU."""
    import torch

    models = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    weights = sum(each.nbytes for model in models for each in model.parameters())
    return bool(torch.cuda.mem_get_info()[0] < _ROOM * weights)


def _compile(pipeline: Any, main: str) -> None:
    import torch

    if main == "unet":
        for part in (pipeline.unet, pipeline.vae):
            part.to(memory_format=torch.channels_last)
    getattr(pipeline, main).compile()
