"""A digest of bytes that somebody else reads: what is left out is read besides, and a change is seen."""

import hashlib
import os

import pytest

from loramerge.errors import SourceError
from loramerge.files import file_view, passing_digest
from loramerge.files.file_view import FileBytes
from loramerge.files.passing_digest import PassingDigest

CONTENT = os.urandom(5000)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(file_view, "_UNSETTLED", -1)
    monkeypatch.setattr(file_view, "_digests", {})
    (tmp_path / "x").write_bytes(CONTENT)
    return FileBytes.at(tmp_path / "x", "x")


@pytest.mark.parametrize("piece", [1, 700, 1 << 20])
@pytest.mark.parametrize(
    "passing",
    [[(0, 5000)], [(8, 100), (100, 4000)], [(8, 100), (2000, 4000), (4100, 5000)], [(0, 1), (4999, 5000)], []],
)
def test_it_is_that_of_all_bytes_and_each_is_read_once(passing, piece, file, monkeypatch):
    monkeypatch.setattr(passing_digest, "_PIECE", piece)
    read, read_into = [], FileBytes.read_into
    monkeypatch.setattr(
        FileBytes, "read_into", lambda self, buffer, at: read.append(len(buffer)) or read_into(self, buffer, at)
    )
    digest = PassingDigest(file)
    for start, stop in passing:
        digest.passed(memoryview(CONTENT[start:stop]), start)
    want = hashlib.sha256(CONTENT).hexdigest()
    assert (digest.settled().sha256, digest.settled().size) == (want, 5000)
    assert sum(read) == 5000 - sum(stop - start for start, stop in passing)
    assert file.known_digest().sha256 == want


def test_a_file_that_was_just_written_is_not_known_by_it(file, monkeypatch):
    monkeypatch.setattr(file_view, "_UNSETTLED", 2_000_000_000)
    assert PassingDigest(file).settled().sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert file.known_digest() is None


def test_a_file_that_was_changed_is_refused(file):
    digest = PassingDigest(file)
    digest.passed(memoryview(CONTENT), 0)
    file.path.write_bytes(CONTENT[::-1])
    with pytest.raises(SourceError, match="x was changed while it was read"):
        digest.settled()
    assert file.known_digest() is None


def test_one_that_became_shorter_is_refused(file):
    digest = PassingDigest(file)
    digest.passed(memoryview(CONTENT[:100]), 0)
    os.truncate(file.path, 200)
    with pytest.raises(SourceError, match="x was changed while it was read"):
        digest.settled()
