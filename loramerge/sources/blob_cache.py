"""What registries handed over, kept between runs by its digest; an artifact's folder has links to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.files.cache import cache_folder
from loramerge.registry.blobs import download
from loramerge.sources.keeping import is_right, keeping, link
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
    shown = shown_file(reference, name)
    with keeping(shown, folder):
        if not is_right(file, blob.size, blob.sha256, shown):
            if not is_right(content, blob.size, blob.sha256, shown):
                download(repository, blob, content)
            link(file, content)
    return file
