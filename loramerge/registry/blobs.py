"""Blobs on their way to files: streamed, hashed, and under their name only once they are right."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

from loramerge.files.atomic import replacing_file
from loramerge.files.outline import header_by
from loramerge.registry.errors import RegistryError
from loramerge.registry.retry import patiently

if TYPE_CHECKING:
    from requests import Response

    from loramerge.registry.manifest import Descriptor
    from loramerge.registry.repository import ArtifactRepository

_PIECE = 1 << 20


class _Received:
    """What came so far, and its digest; a connection that broke off is gone on with."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.digest, self.count = stream, hashlib.sha256(), 0

    def go_on(self, repository: ArtifactRepository, blob: Descriptor) -> None:
        with repository.reading(blob, self.count) as (begin, response):
            _check_size(response, blob, repository.host)
            if begin != self.count:
                self.stream.seek(0)
                self.stream.truncate()
                self.digest, self.count = hashlib.sha256(), 0
            for piece in response.iter_content(_PIECE):
                self.stream.write(piece)
                self.digest.update(piece)
                self.count += len(piece)
                if self.count > blob.size:
                    raise _lies(f"{repository.host} sent more than the {blob.size} bytes that the manifest says")
        if self.count < blob.size:
            raise RegistryError(
                f"{repository.host} broke off after {self.count} of {blob.size} bytes", "try again later", lost=True
            )


def _check_size(response: Response, blob: Descriptor, host: str) -> None:
    """Compare what the registry says of a blob with what the manifest says."""
    whole = response.headers.get("Content-Range", "").rpartition("/")[2] or response.headers.get("Content-Length", "")
    if whole.isdigit() and int(whole) != blob.size:
        raise _lies(f"the manifest says that {blob.digest} has {blob.size} bytes, and {host} has {whole}")


def _lies(message: str) -> RegistryError:
    return RegistryError(message, "do not use this artifact")


def download(repository: ArtifactRepository, blob: Descriptor, file: Path) -> None:
    """Fetch a blob into a file; a killed run leaves no file of that name.

    Raises:
        RegistryError: It can't be had, or is another one.
        OSError: The file can't be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(file) as stream:
        received = _Received(stream)
        if blob.size:
            patiently(repository.host, lambda: received.go_on(repository, blob))
        found = received.digest.hexdigest()
        if found != blob.sha256:
            raise RegistryError(
                f"what {repository.host} sent is another file: its sha256 is {found}, expected {blob.sha256}",
                "try again later; do not use this registry if it stays so",
            )


def header_of_blob(repository: ArtifactRepository, blob: Descriptor) -> bytes:
    """With what a safetensors file begins: at least all of its header, if it has one.

    Raises:
        RegistryError: It can't be had.
    """
    return header_by(lambda count: patiently(repository.host, lambda: _start_of(repository, blob, count)))


def _start_of(repository: ArtifactRepository, blob: Descriptor, count: int) -> bytes:
    """The first bytes; no more are taken where a registry sends them all."""
    with repository.reading(blob, 0, count - 1) as (_, response):
        start = bytearray()
        for piece in response.iter_content(min(count, _PIECE)):
            start += piece
            if len(start) >= count:
                break
    return bytes(start[:count])
