"""The files of one recipe on their way to a prefix of a bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from loramerge.artifact import model_card
from loramerge.artifact.contents import CARD
from loramerge.errors import PublishError
from loramerge.files.digest import sha256_of
from loramerge.files.reading import text_of
from loramerge.messages import some
from loramerge.storage.answers import unless_changed
from loramerge.storage.errors import code_of
from loramerge.storage.transfer import abort, upload
from loramerge.targets import record
from loramerge.targets.folder_contents import MOVE
from loramerge.targets.record import Record, digest_of_ours
from loramerge.targets.s3_contents import Contents
from loramerge.targets.target import Receipt

if TYPE_CHECKING:
    from loramerge.storage.bucket import Bucket
    from loramerge.storage.place import BucketPlace
    from loramerge.targets.target import Delivery

_MAY_NOT = {"AccessDenied", "NotImplemented", "MethodNotAllowed"}


@dataclass(frozen=True)
class S3Publication:
    """What shall lie below the prefix, and the steps that bring it there.

    No storage replaces several objects in one step. The record says what is being replaced before anything is, and
    what is there when all of it is: whoever goes by it never takes half for the whole.

    Attributes:
        bucket: Where to.
        place: The prefix.
        delivery: What to put there.
        force: Overwrite files of others.
    """

    bucket: Bucket
    place: BucketPlace
    delivery: Delivery
    force: bool

    @cached_property
    def _wanted(self) -> Mapping[str, str]:
        return {name: digest_of_ours(name, path) for name, path in sorted(self.delivery.files.items())}

    def put(self) -> Receipt:
        """Bring everything there.

        Raises:
            PublishError: Files of others are in the way.
            Exception: What the storage refuses; see `explained`.
        """
        contents, wanted, delivery = Contents.of(self.bucket, self.place), self._wanted, self.delivery
        earlier = contents.known(delivery.recipe) or Record(delivery.recipe, {})
        still = contents.still(earlier)
        there = {
            name
            for name, digest in wanted.items()
            if contents.holds(name, digest, earlier, size=delivery.files[name].stat().st_size)
        }
        # A file of others with the same content stays theirs: it is watched, and never removed.
        borrowed = {name: wanted[name] for name in sorted(there - earlier.digests.keys())}
        ours = {name: digest for name, digest in wanted.items() if name not in borrowed}
        etags = {name: contents.files[name].etag for name in sorted(there)}
        now = Record(
            delivery.recipe, ours, delivery.definition, delivery.outputs, etags, borrowed=borrowed, home=delivery.home
        )
        before = contents.records.get(record.place(delivery.recipe))
        if (now.files, earlier.replacing) == (earlier.files, {}) and there == wanted.keys():
            if now != earlier:
                self._write(now, unless_changed(before))
            return Receipt(str(self.place), changed=False, url=str(self.place))
        self._refuse_foreign(contents, still | there)
        begun = self._write(now.after(earlier), unless_changed(before))
        if earlier.replacing:
            self._give_up_what_was_begun()
        etags |= self._uploaded(contents, there, still)
        gone = (still & earlier.digests.keys()) - wanted.keys()
        for name in sorted(contents.give_up(self.place.prefix, delivery.recipe, gone)):
            self.bucket.remove(contents.files[name])
        self._write(replace(now, blobs=etags), {"IfMatch": f'"{begun}"'})
        return Receipt(str(self.place), changed=True, url=str(self.place))

    def _refuse_foreign(self, contents: Contents, free: set[str]) -> None:
        in_the_way = sorted((self._wanted.keys() & contents.files.keys()) - free)
        if in_the_way and not self.force:
            said = f"{self.place} holds {some(in_the_way)}, which this recipe did not put there, or which was changed"
            raise PublishError(f"{said} since", hint=MOVE)

    def _uploaded(self, contents: Contents, there: set[str], still: set[str]) -> dict[str, str]:
        """Write what is not there yet; returns the ETags."""
        etags = {}
        with self._with_owners_words(contents, still) as files:
            for name in sorted(self._wanted.keys() - there):
                digest = sha256_of(files[name]) if name == CARD else self._wanted[name]
                only = {} if self.force else unless_changed(contents.files.get(name))
                etags[name] = upload(self.bucket, f"{self.place.prefix}{name}", files[name], digest, only=only)
        return etags

    @contextmanager
    def _with_owners_words(self, contents: Contents, still: set[str]) -> Iterator[Mapping[str, Path]]:
        """The files, with the model card as it shall be: ours, and what its owner wrote there."""
        files = self.delivery.files
        if CARD not in files or CARD not in still:
            yield files
            return
        with TemporaryDirectory(prefix="loramerge-") as folder:
            card = Path(folder, CARD)
            theirs = self.bucket.text(contents.files[CARD])
            card.write_text(model_card.merged(text_of(files[CARD]), theirs), encoding="utf-8", newline="\n")
            yield {**files, CARD: card}

    def _give_up_what_was_begun(self) -> None:
        """Uploads in parts that a killed run left take room and are nowhere to be seen.

        Whoever may not list them leaves that to the rule by which the bucket cleans up.
        """
        keys = {f"{self.place.prefix}{name}" for name in self._wanted}
        try:
            begun = self.bucket.uploads(self.place.prefix)
        except OSError as error:
            if code_of(error) not in _MAY_NOT:
                raise
            return
        for key, upload_id in begun:
            if key in keys:
                abort(self.bucket, key, upload_id)

    def _write(self, known: Record, only: Mapping[str, str]) -> str:
        data = known.text().encode()
        key = f"{self.place.prefix}{record.place(known.recipe)}"
        return self.bucket.put(key, data, hashlib.sha256(data).hexdigest(), only=only)
