"""What a Hub says of a repository before anything is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from loramerge.files.digest import FileDigest, git_blob_of
from loramerge.files.file_view import FileBytes

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo


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


def licence_of(info: ModelInfo) -> str | None:
    """What the model card's metadata says; `other` has a name of its own beside it."""
    return _licence({} if info.card_data is None else vars(info.card_data))


def cached_licence(card: Path) -> str | None:
    """The same by a model card on this machine; None where there is none, or one that can't be read."""
    from huggingface_hub import metadata_load

    try:
        return _licence(metadata_load(card) or {})
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _licence(metadata: Mapping[str, Any]) -> str | None:
    said = metadata.get("license")
    if said == "other":
        said = metadata.get("license_name") or said
    text = ", ".join(map(str, said)) if isinstance(said, list) else str(said or "")
    return "".join(character for character in text if character.isprintable()).strip() or None
