"""Taking an artifact out of a registry, as far as the registry lets anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramerge.registry.errors import NO_DELETION, RegistryError
from loramerge.registry.referrers import referrer_tag, referrers_of
from loramerge.targets.oci_state import referrers_for

if TYPE_CHECKING:
    from loramerge.registry.manifest import Manifest
    from loramerge.registry.repository import ArtifactRepository


def remove(repository: ArtifactRepository, tag: str) -> None:
    """Take a tag away, and what it names where no other tag names it.

    Args:
        repository: Where.
        tag: What names the artifact.

    Raises:
        RegistryError: The registry does not allow it.
    """
    manifest = repository.find(tag)
    if manifest is None:
        return
    others = [each for each in repository.tags() if each != tag and _is_named_by(repository, each, manifest.digest)]
    if others:
        try:
            repository.delete(tag)
        except RegistryError as error:
            if error.status not in NO_DELETION:
                raise
            raise RegistryError(
                f"the registry can't remove the tag alone, and {others[0]} names the same artifact",
                f"remove {others[0]} first, or the tag on the registry's own pages",
            ) from error
        return
    _remove_referrers(repository, manifest)
    repository.delete(manifest.digest)


def _is_named_by(repository: ArtifactRepository, tag: str, digest: str) -> bool:
    found = repository.find(tag)
    return found is not None and found.digest == digest


def _remove_referrers(repository: ArtifactRepository, manifest: Manifest) -> None:
    ours = {each.digest for each in referrers_for(manifest).values()}
    there = {each.digest for each in referrers_of(repository, manifest.digest)}
    index = repository.find(referrer_tag(manifest.digest)) if there else None
    for digest in sorted(ours & there):
        repository.delete(digest)
    if index is not None and there <= ours:
        repository.delete(index.digest)
