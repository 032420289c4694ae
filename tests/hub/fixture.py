"""The `hub` fixture."""

import shutil
from collections.abc import Iterator

import pytest

from hub.environment import CACHE, HUB
from hub.server import Hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    """The loopback Hub, empty, with the client's cache empty as well and nobody logged in."""
    HUB.reset()
    shutil.rmtree(CACHE, ignore_errors=True)
    yield HUB
    HUB.reset()
