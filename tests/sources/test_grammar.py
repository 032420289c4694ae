"""What a reference means is settled without disk or network."""

import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loramerge.errors import SourceError
from loramerge.sources import SOURCES, HttpsSource, HubSource, PathSource, Source, parse

FOLDER = Path("/recipes")
SHA256 = "0" * 64


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("hf://owner/name", HubSource("hf://owner/name", "owner/name")),
        ("hf://owner/name/", HubSource("hf://owner/name/", "owner/name")),
        ("hf://o/n/a b/c.safetensors", HubSource("hf://o/n/a b/c.safetensors", "o/n", "a b/c.safetensors")),
        ("lora.safetensors", PathSource("lora.safetensors", FOLDER / "lora.safetensors")),
        ("../loras/ikea", PathSource("../loras/ikea", FOLDER / "../loras/ikea")),
        ("/loras/ikea", PathSource("/loras/ikea", Path("/loras/ikea"))),
        ("~/ikea", PathSource("~/ikea", Path.home() / "ikea")),
        ("./~ikea", PathSource("./~ikea", FOLDER / "~ikea")),
    ],
)
def test_what_it_is(reference, expected):
    assert parse(reference, folder=FOLDER) == expected


def test_an_address_with_a_sha256():
    url = "https://host.example:8443/files/my%20lora.safetensors?token=secret"
    assert parse(url, folder=FOLDER, sha256=SHA256) == HttpsSource(url, "my lora.safetensors", SHA256)


def test_a_hub_revision():
    assert parse("hf://o/n", folder=FOLDER, revision="refs/pr/1") == HubSource("hf://o/n", "o/n", revision="refs/pr/1")


@pytest.mark.parametrize(
    ("reference", "extra", "message"),
    [
        ("", {}, "is no source"),
        (" lora", {}, "is no source"),
        ("lora\n", {}, "is no source"),
        ("http://host/a.safetensors", {}, "not read"),
        ("gs://bucket/a.safetensors", {}, "not read"),
        ("s3://bucket/a/../b", {}, "no path in a bucket"),
        ("s3://bucket/a/", {"revision": "v1"}, "version of one object"),
        ("file:///a.safetensors", {}, "not read"),
        ("HF://owner/name", {}, "not read"),
        ("hf:owner/name", {}, "names no repository"),
        ("hf://gpt2", {}, "names no repository"),
        ("hf://owner/na--me", {}, "names no repository"),
        ("hf://owner/..", {}, "names no repository"),
        ("hf://owner/name@main/a", {}, "'@' can't be part"),
        ("hf://owner/name/../a", {}, "no path in a repository"),
        ("hf://owner/name/a//b", {}, "no path in a repository"),
        ("hf://owner/name/a/", {}, "no path in a repository"),
        ("hf://owner/name/a\\b", {}, "no path in a repository"),
        ("hf://owner/name", {"revision": ""}, "no branch, tag or commit"),
        ("hf://owner/name", {"revision": "a b"}, "no branch, tag or commit"),
        ("hf://owner/name", {"sha256": SHA256}, "for one file"),
        ("https://host/a.safetensors", {}, "`sha256` is required"),
        ("https://host/", {"sha256": SHA256}, "names no file"),
        ("https://host/..%2Fa.safetensors", {"sha256": SHA256}, "names no file"),
        ("https://user:pass@host/a.safetensors", {"sha256": SHA256}, "user and password"),
        ("https://[/a.safetensors", {"sha256": SHA256}, "host name"),
        ("https://host/a.safetensors", {"sha256": SHA256, "revision": "v1"}, "no revision"),
        ("lora.safetensors", {"revision": "v1"}, "no revision"),
        ("lora.safetensors", {"sha256": "abc"}, "64 lower-case hex digits"),
        ("~nobody-of-that-name/lora", {}, "no such home folder"),
    ],
)
def test_what_is_refused(reference, extra, message):
    with pytest.raises(SourceError, match=message):
        parse(reference, folder=FOLDER, **extra)


@pytest.mark.parametrize("ending", [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".PICKLE"])
@pytest.mark.parametrize("start", ["lora", "hf://owner/name/lora", "https://host/lora"])
def test_pickles_are_refused_with_the_reason(start, ending):
    with pytest.raises(SourceError, match="a pickle can run code when it is opened; only safetensors is read"):
        parse(start + ending, folder=FOLDER, sha256=SHA256)


def test_no_message_shows_what_may_be_a_token():
    for url in ("https://host/?token=hf_secret", "https://me:hf_secret@host/a", "ftp://hf_secret@host/a?t=hf_secret"):
        with pytest.raises(SourceError) as raised:
            parse(url, folder=FOLDER, sha256=SHA256)
        assert "hf_secret" not in str(raised.value)


@given(st.text() | st.text(string.ascii_lowercase + ":/.@?#[]~\\%", max_size=30).map("https://".__add__))
def test_any_text_is_read_or_refused(reference):
    try:
        source: Source = parse(reference, folder=FOLDER, sha256=SHA256)
    except SourceError:
        return
    assert source.reference == reference
    assert isinstance(source, SOURCES)


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b.safetensors", "c\\d"]), min_size=1).map("/".join))
def test_no_hub_path_leaves_its_repository(path):
    try:
        source = parse(f"hf://owner/name/{path}", folder=FOLDER)
    except SourceError:
        return
    assert not {"", ".", ".."} & set(source.path.split("/")) or source.path == ""


def test_parsing_loads_no_network_library():
    heavy = "{'huggingface_hub', 'httpx2', 'ssl', 'http.client'}"
    script = f"import sys, loramerge.sources; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"
