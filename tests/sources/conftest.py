import pytest
from hub.example import FILES, REPO


@pytest.fixture
def repository(hub):
    return hub.repository(REPO, FILES)
