"""Pictures that show what a merge does: every prompt and seed, drawn by the base and by the merged pipeline."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.errors import MismatchError, SourceError
from loramerge.progress import Progress, Silent
from loramerge.upstream import quiet

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

    from loramerge.recipe import Preview

SHEET = "preview.png"
_CELL = 512  # pixels; larger pictures are shrunk in the sheet, not in their own files
_GAP = 8
_LINE = 16
_EXCERPT = 60


@dataclass(frozen=True)
class _Shot:
    number: str
    prompt: str
    seed: int


def render(
    base_folder: Path,
    merged_folder: Path | None,
    preview: Preview,
    folder: Path,
    device: str,
    progress: Progress | None = None,
    *,
    variant: str | None = None,
) -> tuple[str, ...]:
    """Draw every prompt with every seed, from the same noise with both pipelines, of which one is loaded at a time.

    float32 on the CPU, float16 on CUDA. Files carry no time stamps, so the same pictures are the same bytes.

    Args:
        base_folder: The base, a diffusers pipeline.
        merged_folder: The base with the merge fused in; None draws the base alone.
        preview: What to draw.
        folder: Where `01-base.png`, `01-merged.png`, … and the contact sheet `preview.png` go; it exists.
        device: `cpu` or `cuda`.
        progress: Told of every picture.
        variant: Variant of the base's weight files, such as `fp16`.

    Returns:
        The names of the files, sorted.

    Raises:
        MismatchError: A prompt is longer than the base's tokenizers take; nothing is drawn.
        SourceError: A folder can't be loaded as a pipeline.
    """
    import diffusers  # noqa: F401 - so that `quiet` finds it
    import transformers  # noqa: F401

    progress = progress or Silent()
    columns = {"base": (base_folder, variant)} | ({"merged": (merged_folder, None)} if merged_folder else {})
    pairs = [(prompt, seed) for prompt in preview.prompts for seed in preview.seeds]
    shots = [_Shot(f"{number:02}", *pair) for number, pair in enumerate(pairs, start=1)]
    pictures: dict[str, Image.Image] = {}
    with quiet():
        _check_lengths(base_folder, preview)
        progress.start("preview", len(columns) * len(shots))
        for column, (source, of) in columns.items():
            for shot, picture in _drawn(_loaded(source, of, device), preview, shots):
                name = f"{shot.number}-{column}.png"
                pictures[name] = picture
                _save(picture, folder / name, _settings(preview, shot, column))
                progress.advance()
            gc.collect()  # a pipeline holds references to itself; the next one needs its memory
    _save(_sheet(pictures, list(columns), shots), folder / SHEET, {})
    return tuple(sorted([*pictures, SHEET]))


def _check_lengths(base_folder: Path, preview: Preview) -> None:
    """A pipeline would cut a long prompt off and say so only in its log."""
    from transformers import CLIPTokenizer

    for source in sorted(base_folder.glob("tokenizer*")):
        try:
            tokenizer: Any = CLIPTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise SourceError(f"{source} can't be loaded as a tokenizer: {error}") from None
        for prompt in (*preview.prompts, preview.negative_prompt):
            tokens, limit = len(tokenizer(prompt).input_ids), tokenizer.model_max_length
            if tokens > limit:
                raise MismatchError(
                    f"preview: {_excerpt(prompt)!r} has {tokens} tokens; the base's {source.name} takes {limit}, "
                    "start and end included",
                    hint="shorten the prompt",
                )


def _loaded(folder: Path, variant: str | None, device: str) -> Any:
    import torch
    from diffusers import DiffusionPipeline

    # Stable Diffusion 1 names a safety checker that few folders hold; it has no say in what a LoRA does.
    absent = {} if (folder / "safety_checker").is_dir() else {"safety_checker": None}
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            folder,
            torch_dtype=torch.float32 if device == "cpu" else torch.float16,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            **absent,
        )
    except (OSError, ValueError) as error:
        raise SourceError(f"{folder} can't be loaded as a pipeline: {error}") from None
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _drawn(pipeline: Any, preview: Preview, shots: Sequence[_Shot]) -> Iterator[tuple[_Shot, Image.Image]]:
    import torch

    for shot in shots:
        yield (
            shot,
            pipeline(
                prompt=shot.prompt,
                # An empty negative prompt is not None: SDXL would encode it instead of taking zeros.
                negative_prompt=preview.negative_prompt or None,
                num_inference_steps=preview.steps,
                guidance_scale=preview.guidance_scale,
                width=preview.width,
                height=preview.height,
                # The noise is drawn on the CPU, where a seed means the same on every machine.
                generator=torch.Generator("cpu").manual_seed(shot.seed),
            ).images[0],
        )


def _settings(preview: Preview, shot: _Shot, column: str) -> dict[str, str]:
    return {
        "model": column,
        "prompt": shot.prompt,
        "negative_prompt": preview.negative_prompt,
        "seed": str(shot.seed),
        "steps": str(preview.steps),
        "guidance_scale": str(preview.guidance_scale),
    }


def _save(picture: Image.Image, path: Path, settings: Mapping[str, str]) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in settings.items():
        info.add_text(key, value)
    picture.save(path, format="PNG", pnginfo=info)


def _sheet(pictures: Mapping[str, Image.Image], columns: Sequence[str], shots: Sequence[_Shot]) -> Image.Image:
    """A row for each prompt and seed, a column for each pipeline."""
    from PIL import Image, ImageDraw

    cells = {name: picture.convert("RGB") for name, picture in pictures.items()}
    for cell in cells.values():
        cell.thumbnail((_CELL, _CELL))
    width = max(cell.width for cell in cells.values())
    height = max(cell.height for cell in cells.values())
    row = _LINE + height + _GAP
    size = (_GAP + len(columns) * (width + _GAP), _GAP + _LINE + len(shots) * row)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    left = [_GAP + number * (width + _GAP) for number in range(len(columns))]
    for x, column in zip(left, columns, strict=True):
        draw.text((x, _GAP // 2), column, fill="black")
    for number, shot in enumerate(shots):
        top = _GAP + _LINE + number * row
        draw.text((_GAP, top), _fitting(draw, f"seed {shot.seed}: {shot.prompt}", size[0] - 2 * _GAP), fill="black")
        for x, column in zip(left, columns, strict=True):
            sheet.paste(cells[f"{shot.number}-{column}.png"], (x, top + _LINE))
    return sheet


def _fitting(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """The label, cut off where the sheet ends. Pillow's own font knows Latin-1 alone."""
    text = " ".join(text.split()).encode("latin-1", "replace").decode("latin-1")
    if draw.textlength(text) <= width:
        return text
    while text and draw.textlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _excerpt(prompt: str) -> str:
    return prompt if len(prompt) <= _EXCERPT else f"{prompt[: _EXCERPT - 1]}…"
