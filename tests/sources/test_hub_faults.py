import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub.environment import CACHE
from hub.example import FILES, OWNER, REPO, SHA256, WEIGHTS
from hub.faults import NotAHub, Packed, Reset, Slow, Status, Truncated, WrongBytes

from loramerge.errors import SourceError
from loramerge.sources import parse

pytestmark = pytest.mark.slow

FILE = f"hf://{REPO}/ikea.safetensors"


def locate(reference=FILE, **extra):
    return parse(reference, folder=Path("/nowhere"), **extra).locate()


def read(located, name):
    return (located.fetch([name]) / name).read_bytes()


@pytest.fixture(autouse=True)
def waits(hub, monkeypatch):
    """Seconds that were waited for between tries; nobody waits here."""
    waited = []
    monkeypatch.setattr("loramerge.hub.retry.sleep", waited.append)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 0.5)
    monkeypatch.setenv("HF_TOKEN", OWNER)
    hasty = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})  # the client's own patience; not the Hub's
    for module in ("utils._http", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", hasty)
    return waited


GATED = Status(403, {"X-Error-Code": "GatedRepo"})
NO_REPOSITORY = Status(404, {"X-Error-Code": "RepoNotFound"})
BUSY = Status(429, {"Retry-After": "30"})

# Faults that waiting may mend: one of them is not noticed, and if they do not end, the message says so.
PASSING = [
    (Status(429), "rate limit", "try again later"),
    (BUSY, "rate limit", "try again in 30 s"),
    (Status(500), r"the Hub failed \(500\)", "try again later"),
    (Status(503), r"the Hub failed \(503\)", "try again later"),
    (Truncated(), "can't reach the Hub", "try again"),
    (Reset(), "can't reach the Hub", "try again"),
    (Slow(1), "did not answer in time", "HF_HUB_DOWNLOAD_TIMEOUT"),
]
# Faults that no waiting mends: they are told at once.
LASTING = [
    (Status(401), "does not accept the token", "HF_TOKEN"),
    (Status(403), "the Hub forbids reading", "a token that may read it"),
    (NO_REPOSITORY, "does not exist or is private", "check the name"),
    (GATED, "is gated", "accept its conditions"),
    (Status(412), r"refuses the request \(412\)", "HF_ENDPOINT"),
    (Status(416), r"refuses the request \(416\)", "HF_ENDPOINT"),
    (Status(418), r"refuses the request \(418\)", "HF_ENDPOINT"),
]


def refused(message, hint, call):
    with pytest.raises(SourceError, match=message) as raised:
        call()
    assert hint in raised.value.hint
    assert raised.value.message.startswith(f"{FILE}: ")
    assert raised.value.exit_code == 4
    assert OWNER not in str(raised.value)
    assert not kept()


def kept():
    """Weights in the cache, whole or in part."""
    return [path for path in CACHE.rglob("*") if path.is_file() and path.stat().st_size > 1000]


passing = pytest.mark.parametrize(("fault", "message", "hint"), PASSING, ids=repr)
lasting = pytest.mark.parametrize(("fault", "message", "hint"), LASTING, ids=repr)
while_downloading = pytest.mark.parametrize("call", [("HEAD", "/resolve/"), ("GET", "^/_content/")], ids=str)


@pytest.mark.parametrize("fault", [fault for fault, *_ in PASSING], ids=repr)
def test_once_while_listing(hub, repository, waits, fault):
    hub.inject("GET", "^/api/models/", fault)
    assert read(locate(), "ikea.safetensors") == WEIGHTS
    assert waits == [30.0 if fault is BUSY else 1.0]


@passing
def test_always_while_listing(hub, repository, waits, fault, message, hint):
    hub.inject("GET", "^/api/models/", fault, times=99)
    refused(message, hint, locate)
    assert len(waits) == 4


@while_downloading
@pytest.mark.parametrize("fault", [fault for fault, *_ in PASSING], ids=repr)
def test_once_while_downloading(hub, repository, fault, call):
    located = locate()
    hub.inject(*call, fault)
    assert read(located, "ikea.safetensors") == WEIGHTS


@passing
def test_always_while_downloading(hub, repository, monkeypatch, fault, message, hint):
    located = locate()
    if isinstance(fault, Slow):  # no answer comes in time, and the client waits for each of many tries
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    hub.inject("GET", "^/_content/", fault, times=999)
    refused(f"{message}|the connection broke off", hint, lambda: located.fetch(located.files))


@lasting
def test_told_at_once_while_listing(hub, repository, waits, fault, message, hint):
    hub.inject("GET", "^/api/models/", fault)
    refused(message, hint, locate)
    assert waits == []


@while_downloading
@lasting
def test_told_at_once_while_downloading(hub, repository, waits, fault, message, hint, call):  # a table
    located = locate()
    hub.inject(*call, fault)
    refused(message, hint, lambda: located.fetch(located.files))
    assert waits == []


def test_no_hub(hub, repository, waits):
    hub.inject("GET", "^/api/models/", NotAHub())
    refused("did not answer as a Hub does", "HF_ENDPOINT", locate)
    assert waits == []


@pytest.mark.parametrize("packed", [Packed(), Packed("GZIP", zeros=1 << 24), Packed("deflate, gzip")], ids=repr)
def test_what_unpacks_itself_is_not_unpacked(hub, repository, waits, packed):
    located = locate()
    for method, path in (("GET", "^/api/models/"), ("HEAD", "/resolve/"), ("GET", "^/_content/")):
        hub.inject(method, path, packed)
        message = r"did not answer as a Hub does: it packs its answers \(.*gzip\), which nobody asked for"
        refused(f"(?i){message}", "HF_ENDPOINT", locate if "api" in path else lambda: located.fetch(located.files))
    assert waits == []


def test_an_answer_without_an_end_is_not_waited_for(hub, repository, waits, monkeypatch):
    locate()
    monkeypatch.setattr("loramerge.hub.guarded._LARGEST", 100)
    refused("did not answer as a Hub does: it answers with more than 0 MiB", "HF_ENDPOINT", locate)
    assert waits == []


def test_a_file_has_any_size_whatever_it_is_called(hub, monkeypatch):
    data = b'{"layers": 2, "comment": "' + b" " * 200 + b'"}'
    hub.repository("somebody/api", {"api/config.json": data})
    located = locate("hf://somebody/api")
    monkeypatch.setattr("loramerge.hub.guarded._LARGEST", 100)
    assert read(located, "api/config.json") == data


def test_a_client_that_somebody_made_stays_his(hub, repository):
    from huggingface_hub import close_session, set_client_factory
    from huggingface_hub.utils import httpx
    from huggingface_hub.utils._http import default_client_factory

    seen = []
    set_client_factory(lambda: httpx.Client(event_hooks={"response": [seen.append]}, follow_redirects=True))
    try:
        hub.inject("GET", "^/api/models/", Packed())
        refused("packs its answers", "HF_ENDPOINT", locate)
        assert read(locate(), "ikea.safetensors") == WEIGHTS
        assert len(seen) > 2
    finally:
        set_client_factory(default_client_factory)
        close_session()


def test_a_hub_that_can_not_be_reached_is_waited_for_once(hub, repository, waits):
    hub.inject("GET", "^/api/models/", Reset(), times=7)
    for _ in range(3):
        refused("can't reach the Hub", "try again", locate)
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert read(locate(), "ikea.safetensors") == WEIGHTS
    hub.inject("GET", "^/api/models/", Reset())
    locate()
    assert waits[4:] == [1.0]


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
