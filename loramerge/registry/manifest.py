"""Manifests: what a registry keeps under a tag, read with mistrust and written the same for the same.

https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loramerge.registry.address import is_digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ACCEPTED = (
    MANIFEST,
    INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
TITLE = "org.opencontainers.image.title"
FILE_PATH = "org.cncf.model.filepath"
_MODEL_PACK = "application/vnd.cncf.model."
_UNPACK = "io.deis.oras.content.unpack"
LARGEST = 4 << 20
"""Bytes of a manifest: what the specification asks registries to take."""


class MalformedError(ValueError):
    """What was sent is no manifest; the message says why."""


def digest_of_bytes(content: bytes) -> str:
    """What a registry calls bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def as_json(data: Mapping[str, Any]) -> bytes:
    """The same data as the same bytes."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of other bytes.

    Attributes:
        media_type: What they are.
        digest: `sha256:` and 64 hex digits.
        size: How many.
        annotations: What else is said of them: words of strangers.
        artifact_type: Of a manifest, what artifact it is.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None

    @classmethod
    def of_bytes(cls, content: bytes, media_type: str) -> Descriptor:
        """Describe bytes."""
        return cls(media_type, digest_of_bytes(content), len(content))

    @classmethod
    def parse(cls, data: Any) -> Descriptor:
        """Read one.

        Raises:
            MalformedError: It is none; the message says why.
        """
        if not isinstance(data, dict):
            raise MalformedError("a descriptor is no mapping")
        kind, digest, size, notes = (data.get(key) for key in ("mediaType", "digest", "size", "annotations"))
        if not isinstance(digest, str) or not is_digest(digest):
            raise MalformedError("a descriptor has no sha256 digest")
        if not isinstance(kind, str) or isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise MalformedError(f"the descriptor of {digest} lacks a media type or a size")
        notes = {} if notes is None else notes
        if not isinstance(notes, dict) or not all(isinstance(each, str) for pair in notes.items() for each in pair):
            raise MalformedError(f"the annotations of {digest} are no texts")
        artifact = data.get("artifactType")
        return cls(kind, digest, size, notes, artifact if isinstance(artifact, str) else None)

    @property
    def data(self) -> dict[str, Any]:
        """As a manifest has it."""
        kept = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        more = {"artifactType": self.artifact_type, "annotations": dict(self.annotations)}
        return kept | {key: value for key, value in more.items() if value}

    @property
    def sha256(self) -> str:
        """64 hex digits."""
        return self.digest.partition(":")[2]

    @property
    def file_name(self) -> str | None:
        """What the file is called, by ModelPack's annotation or ORAS's; None where nothing says it."""
        return self.annotations.get(FILE_PATH) or self.annotations.get(TITLE)

    @property
    def is_archive(self) -> bool:
        """Whether the bytes are files in a tar archive, not the file itself.

        oras calls every file `application/vnd.oci.image.layer.v1.tar`, and folders the same with `+gzip`.
        """
        kind = self.media_type.partition(";")[0]
        packed = kind.endswith(("+gzip", "+zstd")) or (kind.startswith(_MODEL_PACK) and kind.endswith(".tar"))
        return packed or self.annotations.get(_UNPACK) == "true"


@dataclass(frozen=True)
class Manifest:
    """A manifest, or an index of such.

    Attributes:
        content: The very bytes.
        media_type: Which of the two.
        artifact_type: What artifact it is.
        layers: The files; of an index the manifests.
        config: What describes them; None for an index.
        annotations: What else is said.
    """

    content: bytes
    media_type: str
    artifact_type: str
    layers: Sequence[Descriptor]
    config: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes) -> Manifest:
        """Read one.

        Raises:
            MalformedError: It is none; the message says why.
        """
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            raise MalformedError("it is no JSON") from None
        if not isinstance(data, dict) or data.get("schemaVersion") != 2:  # noqa: PLR2004  the only one there is
            raise MalformedError("it is no manifest of schema version 2")
        entries = data.get("layers", data.get("manifests"))
        if not isinstance(entries, list):
            raise MalformedError("it lists neither layers nor manifests")
        config = None if data.get("config") is None else Descriptor.parse(data["config"])
        notes = data.get("annotations") or {}
        if not isinstance(notes, dict):
            raise MalformedError("its annotations are no mapping")
        return cls(
            content,
            str(data.get("mediaType") or (MANIFEST if "layers" in data else INDEX)),
            str(data.get("artifactType") or (config.media_type if config else "")),
            tuple(map(Descriptor.parse, entries)),
            config,
            {key: value for key, value in notes.items() if isinstance(value, str)},
        )

    @classmethod
    def made(
        cls,
        artifact_type: str,
        config: Descriptor,
        layers: Sequence[Descriptor],
        annotations: Mapping[str, str],
        subject: Descriptor | None = None,
    ) -> Manifest:
        """Write one; the same for the same."""
        data: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": config.data,
            "layers": [layer.data for layer in layers],
        }
        data |= {"annotations": dict(annotations)} if annotations else {}
        data |= {"subject": subject.data} if subject else {}
        return cls(as_json(data), MANIFEST, artifact_type, layers, config, annotations)

    @property
    def digest(self) -> str:
        """What names it for good."""
        return digest_of_bytes(self.content)

    @property
    def descriptor(self) -> Descriptor:
        """As others refer to it."""
        return Descriptor(self.media_type, self.digest, len(self.content))

    @property
    def files(self) -> dict[str, Descriptor]:
        """Name → layer of what is a file by itself, sorted."""
        named = {layer.file_name: layer for layer in self.layers if not layer.is_archive}
        return dict(sorted((name, layer) for name, layer in named.items() if name is not None))
