"""Code that loads a pipeline of diffusers and lets it make something."""

from __future__ import annotations

from dataclasses import dataclass

from loramerge.formats.loading import Address, literal

_PICTURE = "picture.png"
SINGLE_FILES = frozenset(
    {
        "AuraFlowTransformer2DModel",
        "ChromaTransformer2DModel",
        "ChronoEditTransformer3DModel",
        "CosmosTransformer3DModel",
        "ErnieImageTransformer2DModel",
        "Flux2Transformer2DModel",
        "Flux3Transformer2DModel",
        "FluxTransformer2DModel",
        "HiDreamImageTransformer2DModel",
        "HunyuanVideoTransformer3DModel",
        "Krea2Transformer2DModel",
        "LTX2VideoTransformer3DModel",
        "LTXVideoTransformer3DModel",
        "Lumina2Transformer2DModel",
        "MiniMaxH3Transformer3DModel",
        "MochiTransformer3DModel",
        "QwenImage21Transformer2DModel",
        "QwenImageTransformer2DModel",
        "SD3Transformer2DModel",
        "SanaTransformer2DModel",
        "SkyReelsV2Transformer3DModel",
        "UNet2DConditionModel",
        "WanAnimate2Transformer3DModel",
        "WanAnimateTransformer3DModel",
        "WanTransformer3DModel",
        "WanVACETransformer3DModel",
        "ZImageTransformer2DModel",
    }
)
"""Denoisers that diffusers loads from one file in original names (diffusers 0.42, loaders/single_file_model.py)."""


@dataclass(frozen=True)
class PipelineCode:
    """How the pipelines of a base's kind are written in code.

    Attributes:
        opens: The class of diffusers that loads them.
        dtype: Number format that the model is made for, where that is not float32.
        task: The Hub's, such as `text-to-video`.
        call: The arguments of the call that makes something; empty where it takes more than can be shown.
        result: Where the call has what it made, such as `images`.
        file: What it is written to, without its ending.
        library: That has the class.
        variable: What the code calls what it loads.
    """

    opens: str
    dtype: str
    task: str
    call: str
    result: str
    file: str
    library: str = "diffusers"
    variable: str = "pipeline"

    @classmethod
    def of_model(cls, opens: str, task: str, file: str) -> PipelineCode:
        """How a lone model of transformers is written, which is loaded and no more."""
        return cls(opens, "", task, "", "", file, library="transformers", variable="model")

    @property
    def imports(self) -> list[str]:
        """Lines that import what loads a pipeline."""
        return [*(["import torch"] if self.dtype else []), f"from {self.library} import {self._classes}"]

    @property
    def imports_to_make(self) -> list[str]:
        """Lines that import what loads a pipeline and writes what it makes."""
        helpers = {"export_to_video": self._makes("video"), "load_image": self.task.startswith("image-")}
        named = ", ".join(name for name, wanted in helpers.items() if wanted and self.call)
        return [
            *(["import soundfile"] if self.call and self._makes("audio") else []),
            "import torch",
            f"from diffusers import {self._classes}",
            *([f"from diffusers.utils import {named}"] if named else []),
        ]

    @property
    def _classes(self) -> str:
        return self.opens

    def loaded(self, given: str) -> list[str]:
        """Lines that load `pipeline`.

        Args:
            given: What `from_pretrained` takes, as source.
        """
        dtype = f"torch.{self.dtype}"
        if self.opens == "ModularPipeline":
            components = f"dtype={dtype}" if self.dtype else ""
            return [f"pipeline = ModularPipeline.from_pretrained({given})", f"pipeline.load_components({components})"]
        more = f", dtype={dtype}" if self.dtype else ""
        return [f"{self.variable} = {self.opens}.from_pretrained({given}{more})"]

    def made(self, place: Address) -> list[str]:
        """Lines that let `pipeline` make something. The artifact's own folder stays as it is."""
        device = 'pipeline.to("cuda" if torch.cuda.is_available() else "cpu")'
        if not self.call:
            return [device]
        name = f"{'../' if place.repo is None else ''}{self.file}"
        picture = f", image=load_image({literal(_PICTURE)})" if self.task.startswith("image-") else ""
        result = f"pipeline({self.call}{picture}).{self.result}[0]"
        if self.opens == "ModularPipeline":
            result = f"pipeline({self.call}{picture}, output={literal(self.result)})[0]"
        if self._makes("video"):
            return [device, f"export_to_video({result}, {literal(f'{name}.mp4')})"]
        if self._makes("audio"):
            samples = "sound.T.float().cpu().numpy(), pipeline.sample_rate"
            return [device, f"sound = {result}", f"soundfile.write({literal(f'{name}.wav')}, {samples})"]
        return [device, f"image = {result}", f"image.save({literal(f'{name}.png')})"]

    def _makes(self, what: str) -> bool:
        return self.task.endswith(f"-to-{what}")


@dataclass(frozen=True)
class CheckpointCode(PipelineCode):
    """How a base is written that is one file.

    Attributes:
        denoiser: Name and class of the one component that the file holds; empty where it holds all of the pipeline.
        rest: `owner/name` of the pipeline that has the other components.
    """

    denoiser: tuple[str, str] = ("", "")
    rest: str = ""

    @property
    def _classes(self) -> str:
        return ", ".join(sorted(filter(None, (self.opens, self.denoiser[1]))))

    def loaded(self, given: str) -> list[str]:
        """Lines that load `pipeline`.

        Args:
            given: What `from_single_file` takes, as source.
        """
        name, class_name = self.denoiser
        more = f", dtype=torch.{self.dtype}" if self.dtype else ""
        if not name:
            return [f"pipeline = {self.opens}.from_single_file({given}{more})"]
        return [
            f"{name} = {class_name}.from_single_file({given}{more})",
            f"pipeline = {self.opens}.from_pretrained({literal(self.rest)}, {name}={name}{more})",
        ]
