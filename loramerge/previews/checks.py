"""What is wrong with a preview, found before anything is merged or drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.bases import model_index
from loramerge.bases.model_index import ModelIndex
from loramerge.errors import MismatchError
from loramerge.files.reading import read_json
from loramerge.messages import by, excerpt
from loramerge.previews.blank import BlankPipeline

if TYPE_CHECKING:
    from loramerge.bases.base import Base
    from loramerge.recipe import Preview
    from loramerge.sources import Located

_MAKES = {"video": "videos", "audio": "sound"}
_HINT = "leave `preview` out"


def check(base_folder: Path, base: Base, preview: Preview) -> tuple[int, int]:
    """Go on only if the base can draw what the preview asks for.

    Args:
        base_folder: A diffusers pipeline that draws from a prompt, as `check_kind` found.
        base: The same, without its weights.
        preview: What to draw.

    Returns:
        Width and height of the pictures, in pixels.

    Raises:
        MismatchError: diffusers loads no LoRA into the base, a prompt is longer than every tokenizer takes, the base
            knows no negative prompt, or the size is none that it can make.
        SourceError: A tokenizer or config can't be read.
    """
    if base.family.card.loads == "nothing":
        raise MismatchError(f"preview: diffusers loads no LoRA into {base.family.title}", hint=_HINT)
    blank = BlankPipeline.of(base_folder, base)
    for prompt in (*preview.prompts, preview.negative_prompt):
        _check_length(blank, prompt)
    _check_negative(blank, base, preview)
    return _size(blank, preview)


def check_kind(located: Located) -> None:
    """Go on only if a base draws from a prompt alone, before its weights are fetched.

    Args:
        located: A diffusers pipeline.

    Raises:
        MismatchError: It makes something else, or draws from more, or nothing is known of it.
        SourceError: Its index can't be read.
    """
    place = located.fetch([model_index.FILE]) / model_index.FILE
    index = ModelIndex.parse(read_json(place, f"{located.reference}/{model_index.FILE}"), located.reference)
    start, _, makes = index.task.partition("-to-")
    said = f"preview: the base is a {index.pipeline}"
    if makes in _MAKES:
        raise MismatchError(f"{said}, which makes {_MAKES[makes]}, and a preview shows pictures", hint=_HINT)
    if index.draws_from_text:
        return
    if start in {"image", "video"}:
        raise MismatchError(
            f"{said}, which draws from a picture, and a preview has only prompts",
            hint=f"{_HINT}, or choose the text-to-image base of the same family",
        )
    raise MismatchError(f"{said}, of which nobody here knows that it draws from a prompt alone", hint=_HINT)


def size_of(base_folder: Path, base: Base, preview: Preview) -> tuple[int, int]:
    """Width and height of the pictures, in pixels: what is asked for, or what the base was made for.

    Raises:
        MismatchError: The base can't make it.
        SourceError: A config can't be read.
    """
    return _size(BlankPipeline.of(base_folder, base), preview)


def _check_length(blank: BlankPipeline, prompt: str) -> None:
    """A pipeline would cut a long prompt off and say so only in its log.

    Where one tokenizer reads all of it, others may cut it: CLIP has a small part in models that read T5 as well.
    """
    lengths = blank.lengths(prompt)
    if lengths and all(tokens > limit for tokens, limit in lengths.values()):
        name, (tokens, limit) = max(lengths.items(), key=lambda each: each[1][1])
        raise MismatchError(
            f"preview: {excerpt(prompt, 60)!r} has {tokens} tokens; the base's {name} takes {limit}, start and end "
            "included",
            hint="shorten the prompt",
        )


def _check_negative(blank: BlankPipeline, base: Base, preview: Preview) -> None:
    # Where there are two numbers, the negative prompt is for that which no preview gives.
    other = "true_cfg_scale" in blank.parameters and base.family.card.guidance != "true_cfg_scale"
    if preview.negative_prompt and (other or "negative_prompt" not in blank.parameters):
        raise MismatchError(f"preview.negative_prompt: {base.family.title} is guided without one", hint="leave it out")


def _size(blank: BlankPipeline, preview: Preview) -> tuple[int, int]:
    own, multiple = blank.size, blank.multiple
    size = (preview.width or own[0], preview.height or own[1])
    if wrong := [each for each in size if each % multiple]:
        nearest = max(multiple, round(wrong[0] / multiple) * multiple)
        raise MismatchError(
            f"preview: pictures of {by(size)} pixels can't be drawn: the base makes multiples of {multiple}",
            hint=f"set preview.width and preview.height to multiples of {multiple}, such as {nearest}",
        )
    return size
