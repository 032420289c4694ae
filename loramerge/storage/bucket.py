"""A bucket: its objects and their bytes."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loramerge.storage.answers import StoredObject, described, etag_of, sha256_in, told, unless_changed
from loramerge.storage.client import client
from loramerge.storage.errors import DamagedError, RacedError, code_of, is_absent, is_race, is_unsupported

if TYPE_CHECKING:
    from s3fs import S3FileSystem

_TRIES = 3
_NO_VERSION = {"400", "InvalidArgument"}
"""What a storage answers to what can't be the name of a version."""
_MD5 = re.compile(r"[0-9a-f]{32}")
_EXPRESS = "--x-s3"
"""How directory buckets end, whose ETags are no MD5s."""


@dataclass(frozen=True)
class Bucket:
    """A bucket. Every call raises what the AWS libraries raise; see `explained`.

    Attributes:
        name: Its name.
    """

    name: str

    @property
    def endpoint(self) -> str:
        """Where the storage is."""
        connection = client(anonymous=False)
        return str(connection.s3.meta.endpoint_url)

    def objects(self, prefix: str) -> dict[str, StoredObject]:
        """Every object whose key begins with a prefix, by the rest of its key; what stands for a folder is left out."""
        found: dict[str, StoredObject] = {}
        more: dict[str, str] = {}
        while True:
            page = self._read("list_objects_v2", Prefix=prefix, **more)
            told(page, "Name")
            for entry in page.get("Contents", ()):
                key = str(entry["Key"])
                if not key.endswith("/"):
                    found[key.removeprefix(prefix)] = StoredObject(key, int(entry["Size"]), etag_of(entry))
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def names_in(self, prefix: str) -> list[str]:
        """What lies at the top of a folder, at most a thousand names: for hints."""
        page = self._read("list_objects_v2", Prefix=prefix, Delimiter="/")
        folders = [str(each["Prefix"]).removesuffix("/") for each in page.get("CommonPrefixes", ())]
        return [*(str(each["Key"]) for each in page.get("Contents", ())), *folders]

    def head(self, key: str, version: str | None = None) -> StoredObject | None:
        """What the storage says of one object; None where there is none."""
        asked = {} if version is None else {"VersionId": version}
        try:
            said = self._read("head_object", Key=key, ChecksumMode="ENABLED", **asked)
        except Exception as error:
            if is_absent(error) or (version is not None and code_of(error) in _NO_VERSION):
                return None
            raise
        return StoredObject(key, int(told(said, "ContentLength")), etag_of(said), version, sha256_in(said))

    def read(self, stored: StoredObject, start: int = 0, count: int | None = None) -> bytes:
        """Bytes of an object, from `start`, as many as there are or `count`; a connection that breaks off is made anew.

        Raises:
            RacedError: It is no longer what it was.
            EOFError: The storage sends more or less than it says.
        """
        size = stored.size - start if count is None else min(count, stored.size - start)
        if size <= 0:
            return b""
        whole = size == stored.size
        asked = {"Key": stored.key, **({} if stored.version is None else {"VersionId": stored.version})}
        if not whole:
            asked["Range"] = f"bytes={start}-{start + size - 1}"
        for left in reversed(range(_TRIES)):
            connection, answer = self._ask("get_object", {**asked, **unless_changed(stored)})
            try:
                data = _body_of(connection, answer)
                if len(data) != size:
                    raise EOFError(f"{len(data)} bytes came, and {size} were asked for")
            except _broken():
                if not left:
                    raise
            else:
                return data
        raise AssertionError

    def text(self, stored: StoredObject) -> str:
        """A small object as text; what is no UTF-8 is replaced."""
        return self.read(stored).decode("utf-8", errors="replace")

    def put(self, key: str, data: bytes, sha256: str, *, only: Mapping[str, str]) -> str:
        """Write an object in one piece; the storage compares the bytes with their SHA-256. Returns its ETag.

        Args:
            key: Its name.
            data: Its content.
            sha256: Of the content, 64 hex digits.
            only: A condition, as `unless_changed` makes it.

        Raises:
            RacedError: The condition does not hold.
            DamagedError: The storage had other bytes than were sent; they are gone again.
        """
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        said = {
            "Key": key,
            "Body": data,
            "ChecksumAlgorithm": "SHA256",
            "ChecksumSHA256": checksum,
            **described(key, sha256),
        }
        try:
            answer = self.change("put_object", said, only)
        except RacedError:
            if own := self.holding(key, len(data), sha256):
                return own.etag
            raise
        try:
            return self.arrived(key, data, answer)
        except DamagedError:  # what it says of itself is true of what was sent
            self.remove(StoredObject(key, len(data), etag_of(answer)))
            raise

    def holding(self, key: str, size: int, sha256: str) -> StoredObject | None:
        """An object, if it has that content: a call whose answer was lost was made twice, and did its work at first."""
        found = self.head(key)
        return found if found is not None and (found.size, found.sha256) == (size, sha256) else None

    def arrived(self, key: str, data: bytes, answer: Mapping[str, Any]) -> str:
        """The ETag of what was sent, which is its MD5 unless the storage encrypts it with other keys than its own.

        Raises:
            DamagedError: It is that of other bytes.
        """
        etag = etag_of(answer)
        told = answer.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in answer
        if told and _MD5.fullmatch(etag) and not self.name.endswith(_EXPRESS):
            found = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if etag != found:
                raise DamagedError(key)
        return etag

    def remove(self, stored: StoredObject) -> None:
        """Remove an object.

        Raises:
            RacedError: It is no longer what it was.
        """
        self.change("delete_object", {"Key": stored.key}, unless_changed(stored))

    def change(self, method: str, said: Mapping[str, Any], only: Mapping[str, str]) -> Mapping[str, Any]:
        """Make a call that writes; without its condition, where the storage knows no conditions.

        Raises:
            RacedError: The condition does not hold.
        """
        try:
            return self._write(method, {**said, **only})
        except Exception as error:
            if only and (is_race(error) or is_absent(error)):
                raise RacedError(str(said["Key"])) from error
            if not only or not is_unsupported(error):
                raise
        return self._write(method, said)

    def _write(self, method: str, said: Mapping[str, Any]) -> Mapping[str, Any]:
        connection = client(anonymous=False)
        answer: Mapping[str, Any] = connection.call_s3(method, Bucket=self.name, **said)
        return answer

    def uploads(self, prefix: str) -> list[tuple[str, str]]:
        """Key and id of uploads in parts that were begun and not finished; at most a thousand."""
        page = self._read("list_multipart_uploads", Prefix=prefix)
        return [(str(each["Key"]), str(each["UploadId"])) for each in page.get("Uploads", ())]

    def _read(self, method: str, **said: Any) -> Mapping[str, Any]:
        return self._ask(method, said)[1]

    def _ask(self, method: str, said: Mapping[str, Any]) -> tuple[S3FileSystem, Mapping[str, Any]]:
        """Make a call that reads; as nobody, where there are no credentials."""
        connection = client(anonymous=False)
        from botocore.exceptions import NoCredentialsError

        try:
            return connection, self._called(connection, method, said)
        except NoCredentialsError as lacking:
            connection = client(anonymous=True)
            try:
                return connection, self._called(connection, method, said)
            except PermissionError:
                raise lacking from None

    def _called(self, connection: S3FileSystem, method: str, said: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = connection.call_s3(method, Bucket=self.name, **said)
        except Exception as error:
            if "IfMatch" in said and is_race(error):
                raise RacedError(str(said["Key"])) from error
            raise
        return answer


def _body_of(connection: S3FileSystem, answer: Mapping[str, Any]) -> bytes:
    from fsspec.asyn import sync

    async def taken() -> bytes:
        async with answer["Body"] as stream:
            data: bytes = await stream.read()
            return data

    data: bytes = sync(connection.loop, taken)
    return data


def _broken() -> tuple[type[Exception], ...]:
    """What a connection raises that breaks off while an object's bytes come."""
    import aiohttp
    from botocore.exceptions import FlexibleChecksumError, HTTPClientError, IncompleteReadError

    return (aiohttp.ClientError, FlexibleChecksumError, HTTPClientError, IncompleteReadError, OSError, EOFError)
