"""What a LoRA's metadata says to put into a prompt, and which captions it was trained with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from loramerge.errors import SourceError
from loramerge.messages import visible

_SAID = ("modelspec.trigger_phrase", "trigger_words", "trigger_word", "instance_prompt")
_NEARLY_ALL = 0.95
_FEWEST = 3
"""Of so few captions nobody can say what stands in all of them."""


def said(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """What a file says by itself: the model specification's phrase, or a trainer's list of words."""
    for key in _SAID:
        if words := phrases(metadata.get(key)):
            return words
    return ()


def trigger_phrases(metadata: Mapping[str, str], card: Sequence[str] = ()) -> tuple[str, ...]:
    """What a file and its model card say, or else the tags that stand in nearly all captions of its training.

    Args:
        metadata: The file's.
        card: What the model card says.
    """
    return tuple(dict.fromkeys((*said(metadata), *card) or _constant_tags(metadata)))


def phrases(value: Any) -> tuple[str, ...]:
    """Phrases of a model card or of metadata: one text, a list, or a list in JSON; each on one line, each once."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    entries = value if isinstance(value, list) else [value]
    texts = (visible(" ".join(each.split())) for each in entries if isinstance(each, str))
    return tuple(dict.fromkeys(text for text in texts if text and text.lower() not in {"none", "null"}))


def tag_frequency(reference: str, metadata: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Kohya's training tags: data set → tag → count.

    Raises:
        SourceError: They are there, but not in that form.
    """
    try:
        found = json.loads(metadata.get("ss_tag_frequency") or "{}")
        return {_whole(name): {_whole(tag): int(count) for tag, count in tags.items()} for name, tags in found.items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SourceError(f"{reference}: its metadata ss_tag_frequency can't be read: {error}") from None


def _constant_tags(metadata: Mapping[str, str]) -> Iterator[str]:
    try:
        tags = tag_frequency("", metadata)
    except SourceError:
        return
    pictures = _pictures(metadata)
    for name, counts in tags.items():
        captions = max([pictures.get(name, 0), *counts.values()])
        if captions >= _FEWEST:
            yield from (
                found for tag, count in counts.items() if count >= _NEARLY_ALL * captions for found in phrases([tag])
            )


def _pictures(metadata: Mapping[str, str]) -> dict[str, int]:
    """Data set → number of its pictures, as far as kohya says it."""
    try:
        found = json.loads(metadata.get("ss_dataset_dirs") or "{}")
        return {str(name): int(each["img_count"]) for name, each in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return {}


def _whole(text: object) -> str:
    """Without halves of surrogate pairs, which JSON can spell and no file can hold."""
    return str(text).encode("utf-8", "replace").decode("utf-8")
