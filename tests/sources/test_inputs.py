"""Digests that are taken while the files are used."""

import hashlib
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from loramerge.errors import SourceError
from loramerge.sources.inputs import InputFile, InputFiles

CONTENT = {"a.json": b"{}", "deep/b.safetensors": bytes(range(256)) * 10_000, "empty": b""}


@pytest.fixture
def folder(tmp_path):
    for name, content in CONTENT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_every_file_is_known_by_its_size_and_digest(folder, pool):
    files = InputFiles(pool, "hf://someone/lora", folder, reversed(CONTENT))
    want = [InputFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in sorted(CONTENT.items())]
    assert list(files.files()) == want
    assert {name: (found.size, found.sha256) for name, found in files.digests().items()} == {
        file.name: (file.size, file.sha256) for file in want
    }


def test_nobody_waits_for_a_digest_before_it_is_asked_for(folder):
    let_go = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(let_go.wait)
        files = InputFiles(pool, "lora", folder, CONTENT)
        pool.shutdown(wait=False)
        let_go.set()
        assert len(files.files()) == len(CONTENT)


@pytest.mark.parametrize("change", [b"{ }", b"[]"])
@pytest.mark.parametrize("known", [False, True])
def test_a_file_that_is_changed_meanwhile_is_refused(change, known, folder, pool):
    files = InputFiles(pool, "hf://someone/lora", folder, CONTENT)
    if known:
        assert files.files()
    status = (folder / "a.json").stat()
    (folder / "a.json").write_bytes(change)
    os.utime(folder / "a.json", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(SourceError, match=r"hf://someone/lora/a\.json was changed while it was read") as caught:
        files.files()
    assert caught.value.hint


def test_a_file_that_is_put_in_its_place_is_refused(folder, pool):
    """Of the same size and time: what was hashed need not be what was merged."""
    files = InputFiles(pool, "hf://someone/lora", folder, CONTENT)
    victim, other = folder / "a.json", folder / "other"
    status = victim.stat()
    other.write_bytes(bytes(status.st_size))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(victim)
    with pytest.raises(SourceError, match=r"hf://someone/lora/a\.json was changed while it was read"):
        files.files()


def test_a_source_that_is_a_file_is_named_once(folder, pool):
    files = InputFiles(pool, str(folder / "a.json"), folder, ["a.json"])
    (folder / "a.json").unlink()
    with pytest.raises(SourceError, match=rf"^{re.escape(str(folder))}/a\.json can't be read"):
        files.files()


def test_no_secret_of_an_address_is_shown(folder, pool):
    files = InputFiles(pool, "https://me:secret@example.org/a.json?token=secret", folder, ["a.json"])
    (folder / "a.json").unlink()
    with pytest.raises(SourceError, match=r"^https://example\.org/a\.json can't be read"):
        files.files()


def test_a_file_that_goes_away_is_refused(folder, pool):
    files = InputFiles(pool, "lora", folder, CONTENT)
    (folder / "deep" / "b.safetensors").unlink()
    with pytest.raises(SourceError, match=r"lora/deep/b\.safetensors can't be read: No such file"):
        files.files()
    with pytest.raises(SourceError, match="can't be read"):
        InputFiles(pool, "lora", folder, CONTENT)
