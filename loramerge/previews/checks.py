"""What is wrong with a preview, found before anything is merged or drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.bases import model_index
from loramerge.bases.model_index import ModelIndex
from loramerge.bases.quiet import quiet
from loramerge.errors import MismatchError, SourceError
from loramerge.files.reading import read_json
from loramerge.messages import by, excerpt

if TYPE_CHECKING:
    from loramerge.recipe import Preview


def check(base_folder: Path, preview: Preview) -> tuple[int, int]:
    """Go on only if the base can draw what the preview asks for.

    Args:
        base_folder: A diffusers pipeline.
        preview: What to draw.

    Returns:
        Width and height of the pictures, in pixels.

    Raises:
        MismatchError: The base draws from more than a prompt, a prompt is longer than a tokenizer takes, or the size is
            none that the VAE can make.
        SourceError: A tokenizer or config can't be read.
    """
    _check_pipeline(base_folder)
    _check_lengths(base_folder, preview)
    return size_of(base_folder, preview)


def _check_pipeline(base_folder: Path) -> None:
    place = base_folder / model_index.FILE
    index = ModelIndex.parse(read_json(place, str(place)), str(base_folder))
    if not index.draws_from_text:
        raise MismatchError(
            f"preview: the base is a {index.pipeline}, which draws from a picture, and a preview has only prompts",
            hint="leave `preview` out, or choose the text-to-image base of the same family",
        )


def _check_lengths(base_folder: Path, preview: Preview) -> None:
    """A pipeline would cut a long prompt off and say so only in its log."""
    from transformers import CLIPTokenizer

    for source in sorted(base_folder.glob("tokenizer*")):
        try:
            with quiet():
                tokenizer: Any = CLIPTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise SourceError(f"{source} can't be loaded as a tokenizer: {error}") from None
        for prompt in (*preview.prompts, preview.negative_prompt):
            tokens, limit = len(tokenizer(prompt).input_ids), tokenizer.model_max_length
            if tokens > limit:
                raise MismatchError(
                    f"preview: {excerpt(prompt, 60)!r} has {tokens} tokens; the base's {source.name} takes {limit}, "
                    "start and end included",
                    hint="shorten the prompt",
                )


def size_of(base_folder: Path, preview: Preview) -> tuple[int, int]:
    """Width and height of the pictures, in pixels: what is asked for, or what the base was made for.

    The UNet takes latents of any size; only the VAE's own factor has to divide a picture. diffusers' pipelines compute
    both numbers in the same way (`vae_scale_factor`, `default_sample_size`).

    Raises:
        MismatchError: The VAE can't make it.
        SourceError: A config can't be read.
    """
    configs = (base_folder / part / "config.json" for part in ("vae", "unet"))
    vae, unet = (read_json(path, str(path)) for path in configs)
    factor = 2 ** (len(vae.get("block_out_channels") or (1, 1, 1, 1)) - 1)
    own = unet.get("sample_size") or 128
    own_height, own_width = own if isinstance(own, list) else (own, own)
    size = (preview.width or own_width * factor, preview.height or own_height * factor)
    if wrong := [each for each in size if each % factor]:
        nearest = max(factor, round(wrong[0] / factor) * factor)
        raise MismatchError(
            f"preview: pictures of {by(size)} pixels can't be drawn: the base's VAE makes multiples of {factor}",
            hint=f"set preview.width and preview.height to multiples of {factor}, such as {nearest}",
        )
    return size
