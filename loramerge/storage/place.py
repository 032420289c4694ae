"""Places in a storage: `s3://bucket/key`."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEME = "s3://"
_BUCKET = re.compile(r"(?!\d+(?:\.\d+){3}$)[a-z0-9](?!.*\.\.)[a-z0-9.-]{1,61}[a-z0-9]")
"""As https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html has it."""
_LONGEST = 1024
"""Bytes of a key."""


@dataclass(frozen=True)
class BucketPlace:
    """A bucket, and what is meant in it.

    Attributes:
        bucket: Its name.
        key: Of an object, or what the keys of a folder begin with, without a '/' at its end; empty for the bucket.
        is_folder: It was written with a '/' at its end, or is the bucket itself.
    """

    bucket: str
    key: str
    is_folder: bool

    @classmethod
    def parse(cls, url: str) -> BucketPlace:
        """Read an address.

        Args:
            url: Begins with `s3:`.

        Raises:
            ValueError: There can be no such place; says why and what to do, and shows nothing of the address that may
                be a secret.
        """
        bucket, _, key = url.removeprefix(SCHEME).partition("/")
        if "@" in bucket or (":" in bucket and url.startswith(SCHEME)):
            raise ValueError(
                "a bucket's name has neither '@' nor ':'; keys do not belong in an address: AWS_PROFILE, or "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, say who asks"
            )
        if re.search(r"\?.*=", key):
            raise ValueError("it has no query; of a source, the version of one object is `revision:`")
        if not url.startswith(SCHEME) or not _BUCKET.fullmatch(bucket):
            raise ValueError(
                "it names no bucket; write s3://bucket/prefix, with lower-case letters, digits, '.' and '-'"
            )
        key, is_folder = (key[:-1], True) if key.endswith("/") else (key, not key)
        if key and not is_key(key):
            raise ValueError(
                f"{key!r} is no path in a bucket; separate the parts by single '/', without '.', '..', '\\' "
                "and control characters"
            )
        if len(key.encode()) > _LONGEST:
            raise ValueError(
                f"a key of {len(key.encode())} bytes is too long, {_LONGEST} are the most; choose a shorter one"
            )
        return cls(bucket, key, is_folder)

    @property
    def prefix(self) -> str:
        """What the keys of the folder begin with."""
        return f"{self.key}/" if self.key else ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}{f'/{self.key}' if self.key else ''}"


def is_key(name: str) -> bool:
    """Whether a key is a relative path that stays where it is, as a file of that name would."""
    parts = name.split("/")
    return not {"", ".", ".."} & {*parts} and name.isprintable() and not re.search(r"\\|^[A-Za-z]:", name)
