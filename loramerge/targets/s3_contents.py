"""What lies below a prefix of a bucket: files of a recipe as its record has them, and files of others."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.artifact.contents import CARD
from loramerge.artifact.model_card import is_as_written
from loramerge.storage.answers import unless_changed
from loramerge.targets import record
from loramerge.targets.held import Orphan
from loramerge.targets.record import Record

if TYPE_CHECKING:
    from loramerge.storage.answers import StoredObject
    from loramerge.storage.bucket import Bucket
    from loramerge.storage.place import BucketPlace

_LARGEST_READ = 32 << 20
"""Bytes."""
_LONGEST_CARD = 4 << 20
"""Bytes: four for each character of the longest card that is taken apart."""


@dataclass(frozen=True)
class Contents:
    """What lies below a prefix at one moment.

    Attributes:
        bucket: Where.
        files: Name below the prefix → object; without the records.
        records: The same of the records.
    """

    bucket: Bucket
    files: Mapping[str, StoredObject]
    records: Mapping[str, StoredObject]

    @classmethod
    def of(cls, bucket: Bucket, place: BucketPlace) -> Contents:
        """List what is there."""
        listed = bucket.objects(place.prefix)
        records = {name: listed[name] for name in record.places(listed)}
        files = {name: each for name, each in listed.items() if not name.startswith(f"{record.FOLDER}/")}
        return cls(bucket, files, records)

    def known(self, recipe: str) -> Record | None:
        """What this recipe put there the last time."""
        stored = self.records.get(record.place(recipe))
        return None if stored is None else Record.parse(self.bucket.text(stored))

    def still(self, known: Record) -> set[str]:
        """Names of the files of a record that are as they were published; of a model card our part is."""
        digests = {**{name: (digest,) for name, digest in known.borrowed.items()}, **known.digests}
        return {name for name, said in digests.items() if any(self.holds(name, digest, known) for digest in said)}

    def holds(self, name: str, sha256: str, known: Record, *, size: int | None = None) -> bool:
        """Whether a file is there with some content.

        What a record has, and nobody changed since, the listing alone tells.

        Args:
            name: Of the file.
            sha256: Of the content; of a model card without what its owner wrote into it.
            known: The record.
            size: Of the content in bytes, where that is known.
        """
        stored = self.files.get(name)
        if stored is None:
            return False
        if known.blobs.get(name) == stored.etag:
            return sha256 == (known.files.get(name) or known.borrowed.get(name))
        if name == CARD:
            return stored.size <= _LONGEST_CARD and is_as_written(self.bucket.read(stored), sha256)
        return size in {None, stored.size} and self.sha256_of(name) == sha256

    def sha256_of(self, name: str) -> str:
        """SHA-256 of a file: the storage tells it of what we put there. Of others' a small one is read.

        Empty for a large one: that it is not ours is enough.
        """
        stored = self.files[name]
        told = self.bucket.head(stored.key)
        if told is not None and told.etag == stored.etag and told.sha256 is not None:
            return told.sha256
        return hashlib.sha256(self.bucket.read(stored)).hexdigest() if stored.size <= _LARGEST_READ else ""

    def read_records(self, but: str = "") -> dict[str, Record]:
        """What recipes put there the last time, by the names of the records.

        Args:
            but: The recipe whose record is not read: it may be written at this moment.
        """
        names = [name for name in self.records if name != record.place(but)]
        read = {name: Record.parse(self.bucket.text(self.records[name])) for name in names}
        return {name: known for name, known in read.items() if known is not None}

    def give_up(self, prefix: str, recipe: str, names: Collection[str]) -> set[str]:
        """Leave files to other recipes that count on them.

        Args:
            prefix: Of the target.
            recipe: Whose files they were.
            names: Of the files.

        Returns:
            Those that nobody counts on.
        """
        left = {*names}
        for place, other in self.read_records(but=recipe).items() if left else ():
            if (heir := other.inheriting(left)) is not None:
                data, only = heir.text().encode(), unless_changed(self.records[place])
                self.bucket.put(f"{prefix}{place}", data, hashlib.sha256(data).hexdigest(), only=only)
            left -= other.claimed
        return left

    def orphans(self, place: str, home: str, recipes: Collection[str]) -> Iterator[Orphan]:
        """What there is of recipes of a folder that are no longer in it.

        Args:
            place: The target.
            home: What tells that folder of recipes from all others.
            recipes: Names of those that are there.
        """
        every = self.read_records().values()
        for known in every:
            if known.home == home and known.recipe not in recipes:
                others = {name for each in every if each.recipe != known.recipe for name in each.claimed}
                there = sorted((known.digests.keys() & self.files.keys()) - others)
                still = self.untouched(known)
                changed = tuple(name for name in there if name not in still)
                yield Orphan(place, known.recipe, tuple(name for name in there if name in still), changed)

    def untouched(self, known: Record) -> set[str]:
        """Names of the files of a record that nobody changed: words of its owner in a card count."""
        still = self.still(known) & known.digests.keys()
        if CARD in still:
            sha256 = hashlib.sha256(self.bucket.read(self.files[CARD])).hexdigest()
            still -= set() if sha256 in known.digests[CARD] else {CARD}
        return still
