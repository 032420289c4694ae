"""What refers to a manifest, such as its provenance and signature.

By the registry's own listing, and where it has none by an index under a tag that clients keep:
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#unavailable-referrers-api
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loramerge.registry.errors import RegistryError
from loramerge.registry.manifest import INDEX, LARGEST, Descriptor, MalformedError, Manifest, as_json
from loramerge.registry.repository import read
from loramerge.registry.retry import patiently

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loramerge.registry.repository import ArtifactRepository

_RACES = 5
_PRECONDITION_FAILED = 412
EMPTY = Descriptor(
    "application/vnd.oci.empty.v1+json", "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", 2
)
"""The config of an artifact that needs none: `{}`."""
EMPTY_CONTENT = b"{}"


def referrer_tag(digest: str) -> str:
    """The tag of the index that says what refers to a manifest, where the registry does not say it."""
    return digest.replace(":", "-")


def referrers_of(repository: ArtifactRepository, digest: str) -> tuple[Descriptor, ...]:
    """Everything that refers to a manifest.

    Raises:
        RegistryError: It can't be looked up.
    """
    where = f"/v2/{repository.name}/referrers/{digest}"
    pages = list(repository.pages(where))
    if not pages:
        index = _index(repository, digest)[0]
        return tuple(index.layers) if index else ()
    entries = [entry for page in pages for entry in (page.get("manifests") or [])]
    try:
        return tuple(map(Descriptor.parse, entries))
    except MalformedError as error:
        raise RegistryError(
            f"what {repository.host} lists as referrers is none: {error}", "ask whoever runs the registry"
        ) from None


def attach(repository: ArtifactRepository, subject: Descriptor, referrer: Manifest) -> None:
    """Push what refers to a manifest; its own blobs are there.

    Raises:
        RegistryError: The registry refuses.
    """
    if repository.push(referrer, referrer.digest) == subject.digest:
        return
    entry = Descriptor(
        referrer.media_type, referrer.digest, len(referrer.content), referrer.annotations, referrer.artifact_type
    )
    for _ in range(_RACES):
        index, etag = _index(repository, subject.digest)
        known = tuple(index.layers) if index else ()
        if entry.digest in {each.digest for each in known}:
            return
        try:
            repository.push(_index_of((*known, entry)), referrer_tag(subject.digest), etag=etag)
        except RegistryError as error:
            if error.status != _PRECONDITION_FAILED:
                raise
        else:
            return
    raise RegistryError("others attach to the artifact all the time", "run again when they are done")


def _index_of(entries: Sequence[Descriptor]) -> Manifest:
    data = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry.data for entry in entries]}
    return Manifest(as_json(data), INDEX, "", entries)


def _index(repository: ArtifactRepository, digest: str) -> tuple[Manifest | None, str]:
    """What is under the tag, and what the registry calls this state of it."""

    def attempt() -> tuple[Manifest | None, str]:
        where = f"/v2/{repository.name}/manifests/{referrer_tag(digest)}"
        with repository.client.call("GET", where, {"Accept": INDEX}, good=(200, 404)) as response:
            if not response.ok:
                return None, ""
            etag, content = response.headers.get("ETag", ""), read(response, LARGEST, repository.host)
        try:
            found = Manifest.parse(content)
        except MalformedError:
            found = None
        if found is None or found.media_type != INDEX:
            raise RegistryError(
                f"what {repository.host} has under the tag {referrer_tag(digest)} is no index of referrers",
                "remove that tag from the registry",
            )
        return found, etag

    return patiently(repository.host, attempt)
