"""Objects of a storage that were fetched, kept between runs and looked at before each use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import SourceError
from loramerge.files.atomic import replacing_file
from loramerge.files.cache import cache_folder
from loramerge.files.reading import text_of
from loramerge.sources.keeping import is_right, keeping, link
from loramerge.storage.errors import explained
from loramerge.storage.transfer import download

if TYPE_CHECKING:
    from loramerge.storage.answers import StoredObject
    from loramerge.storage.bucket import Bucket

_CONTENT, _DIGEST = "content", "sha256"


class ObjectCache:
    """Objects of a bucket on this machine: by what the storage tells one content from another with, not by name alone.

    Args:
        bucket: Where they are from.
        shown: What errors begin with.
    """

    def __init__(self, bucket: Bucket, shown: str) -> None:
        self._bucket, self._shown = bucket, shown

    def folder(self, objects: Mapping[str, StoredObject]) -> Path:
        """The folder in which objects lie under their names; it is the same for the same contents.

        Args:
            objects: Name in the folder → object.

        Raises:
            SourceError: The folder can't be written.
        """
        meant = {name: self._identity(stored) for name, stored in objects.items()}
        with keeping(self._shown, _cache()):
            folder = _cache() / _hashed(meant)
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def bring(self, folder: Path, name: str, stored: StoredObject) -> Path:
        """Let an object lie in a folder under a name; fetched, if it was not before or is not what it was then.

        Raises:
            SourceError: It can't be had, is not what the storage says, or can't be kept.
        """
        place = _cache() / _hashed(self._identity(stored))
        file = folder / name
        with keeping(self._shown, _cache()):
            if not self._is_right(file, place, stored):
                if not self._is_right(place / _CONTENT, place, stored):
                    place.mkdir(parents=True, exist_ok=True)
                    self._fetch(place, stored)
                link(file, place / _CONTENT)
        return file

    def _identity(self, stored: StoredObject) -> list[object]:
        return [self._bucket.endpoint, self._bucket.name, stored.key, stored.version, stored.etag, stored.size]

    def _is_right(self, file: Path, place: Path, stored: StoredObject) -> bool:
        """Whether a file is what the storage says, or what came from it where it says nothing."""
        try:
            expected = stored.sha256 or text_of(place / _DIGEST)
        except (OSError, ValueError):
            return False
        return is_right(file, stored.size, expected, self._shown)

    def _fetch(self, place: Path, stored: StoredObject) -> None:
        with replacing_file(place / _CONTENT) as stream:
            with explained(self._shown, self._bucket.name):
                found = download(self._bucket, stored, stream)
            if stored.sha256 not in {None, found}:
                raise SourceError(
                    f"{self._shown}: {stored.key} is not what the storage says: its sha256 is {found}, expected "
                    f"{stored.sha256}",
                    hint="upload it anew, without the metadata of another file",
                )
        with replacing_file(place / _DIGEST) as stream:
            stream.write(found.encode())


def _cache() -> Path:
    return cache_folder().absolute() / "s3"


def _hashed(identity: object) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
