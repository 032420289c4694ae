"""The `hub` fixture."""

import shutil
from collections.abc import Iterator

import pytest
from secrets_scan import refuse

from hub.environment import CACHE, HUB
from hub.server import Hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The loopback Hub, empty, with the client's cache empty as well and nobody logged in; nobody waits for it."""
    monkeypatch.setattr("loramerge.hub.retry.sleep", lambda _: None)
    monkeypatch.setattr("loramerge.hub.retry._RETRYING.spent", set())
    HUB.reset()
    shutil.rmtree(CACHE, ignore_errors=True)
    yield HUB
    for repository in HUB.store.repositories.values():
        for commit in repository.commits.values():
            refuse(repr(commit.files) + commit.title + commit.description, f"{repository.name} on the Hub")
    for sha256, data in HUB.store.large_files.items():
        refuse(data, f"{sha256} on the Hub")
    HUB.reset()
