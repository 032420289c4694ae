"""A prefix of a bucket in an S3 storage. The record of what is there is written last."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from loramerge.errors import PublishError, SourceError
from loramerge.fields import in_words
from loramerge.messages import some
from loramerge.storage.bucket import Bucket
from loramerge.storage.errors import explained
from loramerge.storage.place import BucketPlace
from loramerge.targets import record
from loramerge.targets.folder_contents import MOVE
from loramerge.targets.held import Live, Orphan
from loramerge.targets.s3_contents import Contents
from loramerge.targets.s3_publication import S3Publication
from loramerge.targets.target import Delivery, Receipt, Target

if TYPE_CHECKING:
    from loramerge.progress import Progress


class S3Target(Target):
    """Writes the outputs as objects below a prefix.

    What was put there is remembered in `.loramerge/<recipe>.json`, which is written before and after everything else:
    an object that is not in that list, or was changed since, is never overwritten without force.
    """

    kind: Literal["s3"] = Field(description="A prefix of a bucket in an S3 storage.")
    url: str = Field(
        pattern="^s3://",
        description="s3://bucket/prefix; the bucket has to be there.",
        json_schema_extra=in_words("s3://bucket/prefix"),
    )

    @field_validator("url")
    @classmethod
    def _is_place(cls, url: str) -> str:
        try:
            BucketPlace.parse(url)
        except ValueError as error:
            raise PydanticCustomError("inconsistent", "{what}", {"what": str(error)}) from None
        return url

    @property
    def _place(self) -> BucketPlace:
        return BucketPlace.parse(self.url)

    @property
    def spelling(self) -> str:
        """The address, as it was given."""
        return self.url

    @property
    def reference(self) -> str | None:
        """The address."""
        return str(self._place)

    def address(self, origin: Path) -> str | None:
        """The address, however it was spelt."""
        del origin
        return str(self._place)

    def own_place(self, recipe: str) -> str:
        """A prefix below this one."""
        return f"url: {self._place}/{recipe}"

    def live(self, recipe: str, origin: Path, claims: Collection[str] = ()) -> Live:
        """What lies below the prefix of a recipe. What is open to everybody is read without credentials.

        Args:
            recipe: The recipe's name.
            origin: Not used: an address starts nowhere.
            claims: What will lie at its root.

        Raises:
            PublishError: The storage can't be reached or refuses.
        """
        del origin
        place = str(self._place)
        with self._reading() as contents:
            known = contents.known(recipe)
            if known is None:
                theirs = sorted(name for name in contents.files if name.partition("/")[0] in claims)
                return Live(place, foreign={name: partial(contents.sha256_of, name) for name in theirs})
            still = contents.still(known)
            names = {*known.digests, *known.borrowed}
            changed = sorted((names & contents.files.keys()) - still)
            return Live(
                place,
                published=True,
                definition=known.definition,
                outputs=known.outputs,
                names=frozenset({*known.files, *known.borrowed}),
                drift=tuple(known.drift(contents.files, still)),
                refusal=f"it holds {some(changed)}, which was changed since; {MOVE}" if changed else "",
            )

    def orphans(self, home: str, recipes: Collection[str], origin: Path) -> tuple[Orphan, ...]:
        """As the records below the prefix say."""
        del origin
        with self._reading() as contents:
            return tuple(contents.orphans(str(self._place), home, recipes))

    def prune(self, orphan: Orphan, origin: Path) -> None:
        """Remove the objects, and the record last."""
        del origin
        with explained(str(self._place), self._place.bucket, publishing=True):
            contents = Contents.of(Bucket(self._place.bucket), self._place)
            if (known := contents.known(orphan.recipe)) is not None:
                for name in sorted(contents.give_up(self._place.prefix, orphan.recipe, contents.untouched(known))):
                    contents.bucket.remove(contents.files[name])
                contents.bucket.remove(contents.records[record.place(orphan.recipe)])

    def publish(self, delivery: Delivery, origin: Path, *, force: bool, progress: Progress | None = None) -> Receipt:
        """Write files as objects.

        Args:
            delivery: What to write.
            origin: Not used: an address starts nowhere.
            force: Overwrite objects of others.
            progress: Not used: others who write at the same time are not waited for.

        Raises:
            PublishError: Objects of others are in the way, somebody else writes there at the same time, or the storage
                can't be reached or refuses.
        """
        del origin, progress
        place = self._place
        with explained(str(place), place.bucket, publishing=True):
            return S3Publication(Bucket(place.bucket), place, delivery, force).put()

    @contextmanager
    def _reading(self) -> Iterator[Contents]:
        place = self._place
        try:
            with explained(str(place), place.bucket):
                yield Contents.of(Bucket(place.bucket), place)
        except SourceError as error:
            raise PublishError(error.message, hint=error.hint) from error
