"""An object of an S3 storage, or a folder of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from loramerge.errors import SourceError
from loramerge.files.digest import FileDigest
from loramerge.files.lengths import too_long
from loramerge.files.outline import header_by, write_outline
from loramerge.hub.listing import CardFacts
from loramerge.sources.object_cache import ObjectCache
from loramerge.sources.source import Given, Located, check_sha256, missing, nearest, not_promised
from loramerge.storage.bucket import Bucket
from loramerge.storage.errors import explained
from loramerge.storage.place import BucketPlace, is_key

if TYPE_CHECKING:
    from loramerge.storage.answers import StoredObject

_CARD = "README.md"
_ASKED_AT_ONCE = 8
_LARGEST_CARD = 1 << 20
"""Bytes."""


@dataclass(frozen=True)
class S3Source:
    """`s3://bucket/path`.

    Attributes:
        reference: As the recipe gives it.
        place: What it names.
        version: Of the one object; None for what is there now.
        sha256: What the one file must have.
    """

    reference: str
    place: BucketPlace
    version: str | None = None
    sha256: str | None = None

    @classmethod
    def parse(cls, given: Given, /) -> S3Source | None:
        """Take `s3://…`.

        Raises:
            SourceError: There can be no such bucket, path or version.
        """
        if not given.reference.startswith("s3:"):
            return None
        try:
            place = BucketPlace.parse(given.reference)
        except ValueError as error:
            said, _, hint = str(error).partition("; ")
            raise SourceError(f"{given.reference}: {said}", hint=hint) from None
        version = given.revision
        if version is not None and (not version.isprintable() or re.search(r"^$|\s", version)):
            raise SourceError(
                f"{given.reference}: {version!r} is no version of an object",
                hint="give the version's id as the bucket lists it",
            )
        if version is not None and place.is_folder:
            raise SourceError(
                f"{given.reference}: it is a folder, and `revision` is the version of one object",
                hint="name the object",
            )
        return cls(given.reference, place, version, given.sha256)

    @property
    def local(self) -> Path | None:
        """None: it has to be fetched."""
        return None

    def at(self, commit: str, /) -> S3Source:
        """The same: a bucket has no commits."""
        del commit
        return self

    def locate(self) -> Located:
        """Ask what is there: one object, or all that lies in a folder.

        Raises:
            SourceError: Bucket, object or version is missing, forbidden or unreachable.
        """
        bucket = Bucket(self.place.bucket)
        with explained(self.reference, bucket.name):
            found = None if self.place.is_folder else bucket.head(self.place.key, self.version)
            objects = self._file(found) if found is not None else self._folder(bucket)
            known = _asked(bucket, objects) if found is None else objects
        hidden = {name for name in known if re.search(r"(^|/)\.", name)}
        visible = {name: stored for name, stored in known.items() if name not in hidden}
        held = _Held(self, ObjectCache(bucket, self.reference), bucket, visible)
        if not held.objects:
            raise SourceError(f"{self.reference}: the folder has hidden files alone", hint="name one of them")
        card = held.card() if found is None else CardFacts()
        digests = {name: FileDigest(each.size, each.sha256) for name, each in held.objects.items() if each.sha256}
        names = tuple(sorted(held.objects))
        return Located(
            self.reference, None, names, held.fetch, card.licence, digests, tuple(sorted(hidden)), card, held.outline
        )

    def _file(self, found: StoredObject) -> dict[str, StoredObject]:
        if found.size == 0:
            raise SourceError(f"{self.reference}: the file is empty", hint="upload it again")
        if self.sha256 is not None and found.sha256 not in {None, self.sha256}:
            raise not_promised(self.reference, str(found.sha256), self.sha256)
        return {self.place.key.rpartition("/")[2]: found}

    def _folder(self, bucket: Bucket) -> Mapping[str, StoredObject]:
        if self.version is not None:
            raise SourceError(
                f"{self.reference}: there is no object with the version {self.version}",
                hint="give a version's id as the bucket lists it; folders have none, nor do buckets without versions",
            )
        objects = bucket.objects(self.place.prefix)
        if not objects:
            raise self._nothing(bucket)
        if self.sha256 is not None:
            raise SourceError(f"{self.reference}: it is a folder, and `sha256` is for one file", hint="name the file")
        for name in objects:
            folders = {name[:end] for end, each in enumerate(name) if each == "/"}
            if not is_key(name) or folders & objects.keys() or too_long(name):
                raise SourceError(
                    f"{self.reference}: the bucket has {name!r} there, which can't be the name of a file in a folder",
                    hint="do not use this folder, or name one object in it",
                )
        return objects

    def _nothing(self, bucket: Bucket) -> SourceError:
        if not self.place.key:
            return SourceError(f"{self.reference}: the bucket is empty", hint="upload something to it")
        start = self.place.key[: self.place.key.rfind("/") + 1]
        said = f"{self.reference}: the bucket {bucket.name} has no object and no folder {self.place.key}"
        return SourceError(said, hint=nearest(self.place.key, bucket.names_in(start)) or "check the path")


@dataclass(frozen=True)
class _Held:
    """What a source turned out to be: name → object."""

    source: S3Source
    cache: ObjectCache
    bucket: Bucket
    objects: Mapping[str, StoredObject]

    def fetch(self, names: Iterable[str], /) -> Path:
        """Let the named files lie in a folder."""
        wanted, source = tuple(names), self.source
        missing(wanted, self.objects, reference=source.reference)
        with explained(source.reference, self.bucket.name):
            folder = self.cache.folder(self.objects)
            for name in wanted:
                file = self.cache.bring(folder, name, self.objects[name])
                if source.sha256 is not None and self.objects[name].sha256 is None:
                    check_sha256(file, source.sha256, name=source.reference)
        return folder

    def outline(self, names: Iterable[str], into: Path, /) -> None:
        """Write the named files into a folder, of safetensors the headers alone."""
        for name in names:
            file, stored = into / name, self.objects[name]
            file.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".safetensors"):
                with explained(self.source.reference, self.bucket.name):
                    start = header_by(partial(self.bucket.read, stored, 0))
                write_outline(file, start, stored.size)
            else:
                shutil.copyfile(self.fetch([name]) / name, file)

    def card(self) -> CardFacts:
        """What the folder's model card says."""
        if _CARD not in self.objects or self.objects[_CARD].size > _LARGEST_CARD:
            return CardFacts()
        return CardFacts.here(self.fetch([_CARD]) / _CARD)


def _asked(bucket: Bucket, objects: Mapping[str, StoredObject]) -> dict[str, StoredObject]:
    """The same, of weights with their SHA-256 where the storage tells it: a listing does not."""
    weights = [name for name in objects if name.endswith(".safetensors")]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        told = dict(zip(weights, pool.map(lambda name: bucket.head(objects[name].key), weights), strict=True))
    same = {name: found for name, found in told.items() if found is not None and found.etag == objects[name].etag}
    return {
        name: replace(stored, sha256=same[name].sha256) if name in same else stored for name, stored in objects.items()
    }
