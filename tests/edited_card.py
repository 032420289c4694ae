"""A model card of ours that its owner wrote into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from loramerge.artifact.model_card import written

EDIT = "\n## Mine\n\nWords.\n"


def marking(files: Mapping[str, Path]) -> Callable[[str], None]:
    """Give files a card of ours; returns how to write another one."""

    def card(text: str) -> None:
        files["README.md"].write_text(written("license: mit\ntags:\n- lora\n", text), encoding="utf-8")

    card("# merged")
    return card


def with_words(card: bytes) -> str:
    """The card with a key and a section of its owner's."""
    return card.decode().replace("---\n", "---\nlanguage: en\n", 1) + EDIT
