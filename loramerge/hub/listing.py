"""What a Hub says of a repository before anything is downloaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from loramerge.files.digest import FileDigest, git_blob_of
from loramerge.files.file_view import FileBytes
from loramerge.messages import visible

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

_WORDS = ("instance_prompt", "trigger_words", "trigger_word", "trigger_phrase")
_MODEL = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST = 1 << 20
"""Bytes of a card."""


@dataclass(frozen=True)
class Promise:
    """What the listing says of a file; all None when there is no listing."""

    size: int | None = None
    blob: str | None = None
    sha256: str | None = None

    @property
    def digest(self) -> FileDigest | None:
        """Size and SHA-256, where the listing has both: of large files."""
        return None if self.size is None or self.sha256 is None else FileDigest(self.size, self.sha256)

    def broken_by(self, file: Path) -> str:
        """What is wrong with the file; empty when it is as promised."""
        found: object
        if self.size is not None and (found := file.stat().st_size) != self.size:
            return f"{found} bytes, expected {self.size}"
        if self.sha256 is not None and (found := FileBytes.at(file, file.name).digest().sha256) != self.sha256:
            return f"its sha256 is {found}, expected {self.sha256}"
        if self.blob is not None and (found := git_blob_of(file)) != self.blob:
            return f"its git id is {found}, expected {self.blob}"
        return ""


def promises_of(info: ModelInfo) -> dict[str, Promise]:
    """Name → what a Hub says of the file.

    Raises:
        ValueError: It says what can't be.
    """
    found = {}
    for file in info.siblings or ():
        sha256 = file.lfs.sha256 if file.lfs else None
        blob = None if file.lfs else file.blob_id
        sound = (
            isinstance(file.rfilename, str)
            and (file.size is None or type(file.size) is int)
            and (blob is None or isinstance(blob, str))
            and (sha256 is None or (isinstance(sha256, str) and _SHA256.fullmatch(sha256)))
        )
        if not sound:
            raise ValueError(f"the listing says of {file.rfilename!r} what can't be")
        found[file.rfilename] = Promise(file.size, blob, sha256)
    return found


def revisions_of(repo: str) -> list[str]:
    """Branches and tags, for a hint; none where the Hub does not tell them."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily since 1.31, for 1.x and 2.x

    try:
        refs = HfApi().list_repo_refs(repo)
    except (HfHubHTTPError, httpx.HTTPError, OSError):
        return []
    return [ref.name for ref in (*refs.branches, *refs.tags)]


@dataclass(frozen=True)
class CardFacts:
    """What a model card says in its front matter.

    Attributes:
        licence: `other` has a name of its own beside it; None where nothing is said.
        trigger_words: What to put into a prompt.
        tags: What the model is about.
        base_model: `owner/name` of what it was trained on; None where that is not said, or several are.
    """

    licence: str | None = None
    trigger_words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    base_model: str | None = None

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> CardFacts:
        """Read the front matter, whatever strangers wrote there."""
        words = (text for key in _WORDS for text in _texts(metadata.get(key)))
        models = _texts(metadata.get("base_model"))
        return cls(
            _licence(metadata),
            tuple(dict.fromkeys(words)),
            _texts(metadata.get("tags")),
            models[0] if len(models) == 1 and _MODEL.fullmatch(models[0]) else None,
        )

    @classmethod
    def on_the_hub(cls, info: ModelInfo) -> CardFacts:
        """What the Hub tells of a repository's card."""
        return cls.of(getattr(info.card_data, "__dict__", {}))  # what is no mapping the client hands on as it is

    @classmethod
    def here(cls, card: Path) -> CardFacts:
        """The same by a card on this machine; nothing where there is none, or one that can't be read."""
        from huggingface_hub import metadata_load

        try:
            if not card.is_file() or card.stat().st_size > _LARGEST:
                return cls()
            found = metadata_load(card)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return cls()
        return cls.of(found) if isinstance(found, dict) else cls()


def _texts(value: object) -> tuple[str, ...]:
    """One text or a list of such, each on one line."""
    entries = value if isinstance(value, list) else [value]
    texts = (visible(" ".join(each.split())) for each in entries if isinstance(each, str))
    return tuple(dict.fromkeys(text for text in texts if text and text.lower() not in {"none", "null"}))


def _licence(metadata: Mapping[str, Any]) -> str | None:
    said = metadata.get("license")
    if said == "other":
        said = metadata.get("license_name") or said
    return ", ".join(_texts(said)) or None
