from pathlib import Path

import pytest
from hub.environment import CACHE
from hub.example import FILES, OWNER, REPO, SHA256, WEIGHTS
from hub.faults import NotAHub, Reset, Slow, Status, Truncated, WrongBytes

from loramerge.errors import SourceError
from loramerge.sources import parse

FILE = f"hf://{REPO}/ikea.safetensors"


def locate(reference=FILE, **extra):
    return parse(reference, folder=Path("/nowhere"), **extra).locate()


def read(located, name):
    return (located.fetch([name]) / name).read_bytes()


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        (Status(403), "the Hub forbids reading", "a token that may read it"),
        (Status(429), "rate limit", "try again later"),
        (Status(429, {"Retry-After": "30"}), "rate limit", "try again in 30 s"),
        (Status(500), r"the Hub failed \(500\)", "try again later"),
        (Status(503), r"the Hub failed \(503\)", "try again later"),
        (Status(418), r"refuses the request \(418\)", "HF_ENDPOINT"),
        (NotAHub(), "did not answer as a Hub does", "HF_ENDPOINT"),
        (Truncated(), "can't reach the Hub", "try again"),
        (Reset(), "can't reach the Hub", "try again"),
        (Slow(4), "did not answer in time", "HF_HUB_DOWNLOAD_TIMEOUT"),
    ],
    ids=repr,
)
def test_while_listing(hub, repository, monkeypatch, fault, message, hint):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    hub.inject("GET", "^/api/models/", fault)
    with pytest.raises(SourceError, match=message) as raised:
        locate()
    assert hint in raised.value.hint
    assert FILE in raised.value.message
    assert OWNER not in str(raised.value)


def test_nobody_there(hub, repository):
    hub.stop()
    with pytest.raises(SourceError, match=f"can't reach the Hub at {hub.url}") as raised:
        locate()
    assert "HF_HUB_OFFLINE=1" in raised.value.hint


def test_a_body_that_ends_early_is_resumed(hub, repository):
    hub.inject("GET", "^/_content/", Truncated())
    assert read(locate(), "ikea.safetensors") == WEIGHTS


def test_a_connection_that_breaks_off_leaves_no_file(hub, repository):
    hub.inject("GET", "^/_content/", Reset(), times=9)
    located = locate()
    with pytest.raises(SourceError, match="the connection broke off"):
        located.fetch(located.files)
    assert not [path for path in CACHE.rglob("*") if path.is_file() and path.stat().st_size > 1000]


def test_wrong_bytes_once_are_fetched_again(hub, repository):
    hub.inject("GET", "^/_content/", WrongBytes())
    assert read(locate(), "ikea.safetensors") == WEIGHTS


@pytest.mark.parametrize(
    ("name", "path", "promise"),
    [("ikea.safetensors", "^/_content/", SHA256), ("unet/config.json", "/resolve/", "git id")],
)
def test_wrong_bytes_again_are_an_error(hub, repository, name, path, promise):
    hub.inject("GET", path, WrongBytes(), times=2)
    located = locate(f"hf://{REPO}")
    with pytest.raises(SourceError, match=f"{name} is not what the Hub lists: .*{promise}"):
        located.fetch([name])
    assert read(located, name) == FILES[name]


def test_a_cached_file_that_was_damaged_is_fetched_again(repository):
    located = locate()
    file = located.fetch(located.files) / "ikea.safetensors"
    file.resolve().write_bytes(WEIGHTS[:-1] + b"?")
    assert read(located, "ikea.safetensors") == WEIGHTS


@pytest.mark.parametrize("fault", [Status(403), Status(404)], ids=repr)
def test_while_downloading(hub, repository, monkeypatch, fault):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    located = locate()
    hub.inject("HEAD", "/resolve/", fault)
    with pytest.raises(SourceError, match=f"^{FILE}: ") as raised:
        located.fetch(located.files)
    assert str(fault.status) in str(raised.value) or "forbids" in raised.value.message
    assert OWNER not in str(raised.value)


def test_a_cache_that_can_not_be_written(repository):
    located = locate()
    CACHE.write_text("in the way")
    try:
        with pytest.raises(SourceError, match=f"can't keep the file in {CACHE}"):
            located.fetch(located.files)
    finally:
        CACHE.unlink()
