"""The connection to a storage, with the credentials that the AWS libraries find."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from loramerge.errors import LoramergeError
from loramerge.storage.errors import SettingsError

if TYPE_CHECKING:
    from s3fs import S3FileSystem

_CONNECTING = 10
"""Seconds."""
_SILENT = 30
"""Seconds without any answer. The AWS libraries ask five times, or as often as AWS_MAX_ATTEMPTS says."""


def client(*, anonymous: bool) -> S3FileSystem:
    """A connection, kept while the environment says the same.

    Args:
        anonymous: Ask as nobody, without credentials.

    Raises:
        LoramergeError: s3fs is not installed.
        SettingsError: The environment or a profile says what can't be.
    """
    settings = tuple(sorted((key, value) for key, value in os.environ.items() if key.startswith("AWS_")))
    return _client(anonymous, settings, (_CONNECTING, _SILENT), os.getpid())


@lru_cache(maxsize=4)
def _client(
    anonymous: bool, _settings: tuple[tuple[str, str], ...], seconds: tuple[float, float], _process: int
) -> S3FileSystem:
    try:
        from s3fs import S3FileSystem
    except ImportError as error:
        raise LoramergeError(
            f"s3:// is read and written by s3fs, which can't be imported: {error}",
            hint="pip install 'loramerge[s3]'",
        ) from None
    timeouts = dict(zip(("connect_timeout", "read_timeout"), seconds, strict=True))
    found = S3FileSystem(anon=anonymous, config_kwargs=timeouts, skip_instance_cache=True, use_listings_cache=False)
    found.retries = 1  # botocore below it tries again already
    try:
        found.connect()
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return found
