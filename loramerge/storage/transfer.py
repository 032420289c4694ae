"""Large files on their way to and from a bucket, several pieces at a time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from loramerge.files.reading import open_file
from loramerge.numerics.threads import in_order
from loramerge.storage.answers import StoredObject, described, told
from loramerge.storage.errors import DamagedError, RacedError

if TYPE_CHECKING:
    from loramerge.storage.bucket import Bucket

Result = TypeVar("Result")

_PIECE = 16 << 20
"""Bytes that are fetched, or sent, with one request; S3 takes parts of 5 MiB at least."""
_AT_ONCE = 4
_PART_CHECKSUM = "CRC32"
_PARTS = 10_000
"""As many as S3 takes."""


def download(bucket: Bucket, stored: StoredObject, stream: IO[bytes]) -> str:
    """Fetch an object into an open file; returns the SHA-256 of what came.

    Raises:
        Exception: What `Bucket.read` raises.
    """
    digest = hashlib.sha256()
    pieces = (partial(bucket.read, stored, start, _PIECE) for start in range(0, stored.size, _PIECE))
    for piece in _a_few_at_once(pieces):
        digest.update(piece)
        stream.write(piece)
    return digest.hexdigest()


def upload(bucket: Bucket, key: str, file: Path, sha256: str, *, only: Mapping[str, str]) -> str:
    """Write a file into an object; returns its ETag. One that breaks off leaves no object, and no parts of one.

    Args:
        bucket: Where to.
        key: The object's name.
        file: Its content.
        sha256: Of the content, 64 hex digits.
        only: A condition, as `unless_changed` makes it.

    Raises:
        RacedError: The condition does not hold.
        DamagedError: What the storage has is not what was sent, or the file was changed meanwhile.
    """
    size = file.stat().st_size
    if size > _PIECE:
        return _in_parts(bucket, key, file, sha256, only=only)
    with open_file(file) as stream:
        data = stream.read()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DamagedError(f"{file} was changed while it was published")
    return bucket.put(key, data, sha256, only=only)


def _in_parts(bucket: Bucket, key: str, file: Path, sha256: str, *, only: Mapping[str, str]) -> str:
    size = file.stat().st_size
    piece = max(_PIECE, math.ceil(size / _PARTS))
    digest = hashlib.sha256()
    begun = {"Key": key, "ChecksumAlgorithm": _PART_CHECKSUM, **described(key, sha256)}
    upload_id = told(bucket.change("create_multipart_upload", begun, {}), "UploadId")
    said = {"Key": key, "UploadId": upload_id}
    try:
        with open_file(file) as stream:

            def parts() -> Iterator[Callable[[], dict[str, Any]]]:
                number = 0
                while data := stream.read(piece):
                    digest.update(data)
                    number += 1
                    yield partial(_send_part, bucket, said, number, data)

            sent = list(_a_few_at_once(parts()))
        if digest.hexdigest() != sha256:
            raise DamagedError(f"{file} was changed while it was published")  # noqa: TRY301  what was sent is given up
        bucket.change("complete_multipart_upload", {**said, "MultipartUpload": {"Parts": sent}}, only)
    except BaseException as error:
        if isinstance(error, RacedError) and (own := bucket.holding(key, size, sha256)):
            return own.etag
        abort(bucket, key, upload_id)
        raise
    found = bucket.holding(key, size, sha256)
    if found is None:
        raise DamagedError(key)
    return found.etag


def _send_part(bucket: Bucket, said: Mapping[str, Any], number: int, data: bytes) -> dict[str, Any]:
    answer = bucket.change(
        "upload_part", {**said, "PartNumber": number, "Body": data, "ChecksumAlgorithm": _PART_CHECKSUM}, {}
    )
    bucket.arrived(str(said["Key"]), data, answer)
    known = {"PartNumber": number, "ETag": answer["ETag"]}
    checksum = f"Checksum{_PART_CHECKSUM}"
    return known | ({checksum: answer[checksum]} if answer.get(checksum) else {})


def abort(bucket: Bucket, key: str, upload_id: str) -> None:
    """Give up an upload in parts; where even that fails, the next run does it."""
    with suppress(Exception):
        bucket.change("abort_multipart_upload", {"Key": key, "UploadId": upload_id}, {})


def _a_few_at_once(calls: Iterable[Callable[[], Result]]) -> Iterator[Result]:
    """What calls return, in their order."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="storage") as pool:
        yield from in_order(pool, lambda call: call(), calls, ahead=_AT_ONCE)
