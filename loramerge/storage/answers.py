"""What a storage says of an object, and what is said to it."""

from __future__ import annotations

import base64
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loramerge.storage.errors import StrangeError

_SHA256 = "loramerge-sha256"
"""What we write beside an object: its SHA-256. S3's own checksum of an object in parts is one of its parts."""
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredObject:
    """What a storage says of an object.

    Attributes:
        key: Its name in the bucket.
        size: In bytes.
        etag: What tells its content from any other that it had.
        version: Its version, where one was asked for.
        sha256: Of its content, where that is known.
    """

    key: str
    size: int
    etag: str
    version: str | None = None
    sha256: str | None = None


def unless_changed(stored: StoredObject | None) -> dict[str, str]:
    """The condition that an object is what it was, or still not there."""
    return {"IfNoneMatch": "*"} if stored is None else {"IfMatch": f'"{stored.etag}"'}


def described(key: str, sha256: str) -> dict[str, Any]:
    """What is written beside an object: its SHA-256, and what a browser is to take it for."""
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    return {"Metadata": {_SHA256: sha256}, "ContentType": f"{kind}{charset}"}


def etag_of(answer: Mapping[str, Any]) -> str:
    """What an answer says of an object's content.

    Raises:
        StrangeError: It says nothing.
    """
    return str(told(answer, "ETag")).strip('"')


def told(answer: Mapping[str, Any], key: str) -> Any:
    """What every storage says in an answer.

    Raises:
        StrangeError: This one does not.
    """
    if key not in answer:
        raise StrangeError(key)
    return answer[key]


def sha256_in(said: Mapping[str, Any]) -> str | None:
    """The SHA-256 by the storage's own checksum of the whole object, else by what was written beside it."""
    checksum = str(said.get("ChecksumSHA256", ""))
    if checksum and "-" not in checksum and said.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
        return base64.b64decode(checksum).hex()
    written = str(said.get("Metadata", {}).get(_SHA256, ""))
    return written if _HEX.fullmatch(written) else None
