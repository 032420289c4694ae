"""What registries handed over, kept between runs by its digest; an artifact's folder has links to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.files.cache import cache_folder
from loramerge.files.file_view import FileBytes
from loramerge.files.reflink import copy
from loramerge.registry.blobs import download
from loramerge.sources.keeping import keeping
from loramerge.sources.source import shown_file

if TYPE_CHECKING:
    from loramerge.registry.manifest import Descriptor
    from loramerge.registry.repository import ArtifactRepository


def kept(repository: ArtifactRepository, digest: str, name: str, blob: Descriptor, reference: str) -> Path:
    """A file of an artifact, compared with its digest even where the cache had it.

    Args:
        repository: Where it is fetched from.
        digest: The artifact's.
        name: The file in the artifact.
        blob: Its content.
        reference: The source, for errors.

    Raises:
        RegistryError: It can't be had.
        SourceError: It can't be kept.
    """
    folder = cache_folder() / "oci"
    content, file = folder / "blobs" / blob.sha256, folder / digest.partition(":")[2] / name
    with keeping(shown_file(reference, name), folder):
        if not _is(file, blob, reference):
            if not _is(content, blob, reference):
                download(repository, blob, content)
            _link(content, file)
    return file


def _is(file: Path, blob: Descriptor, reference: str) -> bool:
    if not file.is_file() or file.stat().st_size != blob.size:
        return False
    return FileBytes.at(file, shown_file(reference, file.name)).digest().sha256 == blob.sha256


def _link(content: Path, file: Path) -> None:
    """Let a file have the content, in one step: by a second name for it, or a copy where there is no such thing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    staging = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        try:
            os.link(content, staging)
        except OSError:
            copy(content, staging)
        staging.replace(file)
    finally:
        staging.unlink(missing_ok=True)
