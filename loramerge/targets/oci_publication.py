"""The files of one recipe on their way to one tag of a registry."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from loramerge.artifact.contents import CARD, PAPERS, PREVIEW, SIGNATURE
from loramerge.errors import PublishError
from loramerge.files.file_view import FileBytes
from loramerge.files.reading import open_file
from loramerge.files.tensor_header import read_header
from loramerge.hub.listing import CardFacts
from loramerge.registry import model_pack
from loramerge.registry.manifest import TITLE, Descriptor, Manifest
from loramerge.registry.referrers import EMPTY, EMPTY_CONTENT, attach
from loramerge.targets import record
from loramerge.targets.oci_state import TaggedArtifact, missing_referrers
from loramerge.targets.record import Record

if TYPE_CHECKING:
    from loramerge.registry.repository import ArtifactRepository
    from loramerge.targets.target import Delivery

_DESCRIPTION = "org.opencontainers.image.description"


@dataclass(frozen=True)
class OciPublication:
    """An artifact, and the steps that bring it under a tag.

    Blobs come first, then the manifest by its digest, then what refers to it, and the tag last: whoever asks for the
    tag gets the old artifact or the new one, whole.

    Attributes:
        manifest: What the tag is to name.
        contents: Digest → what has the bytes.
    """

    manifest: Manifest
    contents: Mapping[str, tuple[Descriptor, Path | bytes]]

    @classmethod
    def of(cls, delivery: Delivery) -> OciPublication:
        """Read the digests of files, and write record, config and manifest of them.

        Raises:
            SourceError: A file can't be read.
        """
        digests = {name: FileBytes.at(path, name).digest() for name, path in sorted(delivery.files.items())}
        recorded = {name: digest.sha256 for name, digest in digests.items()}
        known = Record(delivery.recipe, recorded, delivery.definition, delivery.outputs, home=delivery.home)
        text, own = known.text().encode(), record.place(delivery.recipe)
        made = Descriptor.of_bytes(text, "")
        layers = {
            name: model_pack.layer(name, digest.sha256, digest.size, paper=_is_paper(name))
            for name, digest in digests.items()
        } | {own: model_pack.layer(own, made.sha256, made.size, paper=True)}
        files: dict[str, Path | bytes] = {**delivery.files, own: text}
        listed = [layers[name] for name in sorted(layers)]
        told = _descriptor(delivery)
        config = model_pack.config(listed, [*_number_formats(delivery)], told)
        described = Descriptor.of_bytes(config, model_pack.CONFIG)
        notes = {
            TITLE: delivery.recipe,
            _DESCRIPTION: told["description"],
            model_pack.LICENCES: ", ".join(told["licenses"] or ()),
        }
        manifest = Manifest.made(
            model_pack.ARTIFACT, described, listed, {key: str(value) for key, value in notes.items() if value}
        )
        contents = {layer.digest: (layer, files[name]) for name, layer in layers.items()}
        return cls(manifest, contents | {described.digest: (described, config)})

    def put(self, repository: ArtifactRepository, tag: str, before: TaggedArtifact) -> bool:
        """Bring everything there; whether anything had to be.

        Args:
            repository: Where to.
            tag: What is to name it.
            before: What the tag named when it was looked at.

        Raises:
            RegistryError: The registry refuses.
            PublishError: Somebody else moves the tag at this moment.
        """
        digest = self.manifest.digest
        if before.digest == digest:
            missing = missing_referrers(repository, self.manifest)
            self._refer(repository, missing)
            return bool(missing)
        self._push_blobs(repository, self.contents)
        if repository.find(digest) is None:
            repository.push(self.manifest, digest)
        self._refer(repository, missing_referrers(repository, self.manifest))
        _refuse_race(repository, tag, before.digest, "while we published")
        repository.push(self.manifest, tag)
        _refuse_race(repository, tag, digest, "right after we published")
        return True

    def _push_blobs(
        self, repository: ArtifactRepository, contents: Mapping[str, tuple[Descriptor, Path | bytes]]
    ) -> None:
        for blob, content in contents.values():
            if not repository.has(blob):
                repository.upload(blob, partial(_opened, content))

    def _refer(self, repository: ArtifactRepository, referrers: Mapping[str, Manifest]) -> None:
        if referrers:
            self._push_blobs(repository, {EMPTY.digest: (EMPTY, EMPTY_CONTENT)})
        for each in referrers.values():
            attach(repository, self.manifest.descriptor, each)


def _refuse_race(repository: ArtifactRepository, tag: str, expected: str | None, when: str) -> None:
    found = repository.find(tag)
    if (found.digest if found else None) != expected:
        raise PublishError(
            f"oci://{repository.host}/{repository.name}:{tag} was moved by somebody else {when}",
            hint="look at what it names now; run again to publish over it",
        )


def _opened(content: Path | bytes) -> IO[bytes]:
    return io.BytesIO(content) if isinstance(content, bytes) else open_file(content)


def _is_paper(name: str) -> bool:
    """Whether a file is one of the artifact's own, beside its outputs, or one of its pictures."""
    return name in {*PAPERS, SIGNATURE} or name.partition("/")[0] == PREVIEW


def _number_formats(delivery: Delivery) -> Iterator[str]:
    for name, path in delivery.files.items():
        if name.endswith(".safetensors"):
            yield from {entry.dtype for entry in read_header(FileBytes.at(path, name)).entries}


def _descriptor(delivery: Delivery) -> dict[str, str | list[str] | None]:
    said = (delivery.definition or {}).get("recipe") or {}
    card = delivery.files.get(CARD)
    licence = CardFacts.here(card).licence if card else None
    description = said.get("description")
    return {
        "name": delivery.recipe,
        "description": description if isinstance(description, str) else None,
        "licenses": [licence] if licence else None,
    }
