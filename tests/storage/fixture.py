"""The `storage` fixture."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from secrets_scan import refuse

from storage.server import KEY, SECRET, Storage


@functools.cache
def _storage() -> Storage:
    """One in a session, started by the first test that wants it."""
    return Storage()


def environment(url: str) -> dict[str, str]:
    """What lets the AWS libraries find a storage, and nothing that this machine's user has."""
    return {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """The loopback storage, empty; nobody asks it twice."""
    found = _storage()
    found.reset()
    for name, value in environment(found.url).items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    yield found
    for bucket in found.buckets():
        for key, data in found.objects(bucket).items():
            refuse(data, f"{key} in {bucket}")
    found.reset()
