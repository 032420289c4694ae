"""Digests of files that others keep: each is taken once, and only of what is still the same."""

import hashlib
import os

import pytest

from loramerge.errors import SourceError
from loramerge.files import file_view
from loramerge.files.file_view import FileBytes, digest_of


@pytest.fixture
def hashed(monkeypatch):
    """Sizes of what was hashed. Files of this moment count as settled."""
    found = []

    def count(file):
        found.append(os.fstat(file.fileno()).st_size)
        return sha256_in(file)

    sha256_in = file_view.sha256_in
    monkeypatch.setattr(file_view, "sha256_in", count)
    monkeypatch.setattr(file_view, "_UNSETTLED", -1)
    return found


def test_a_file_is_hashed_once(hashed, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"weights")
    want = hashlib.sha256(b"weights").hexdigest()
    assert [digest_of(path, "x").sha256 for _ in range(3)] == [want] * 3
    (tmp_path / "link").symlink_to(path)
    assert digest_of(tmp_path / "link", "link").sha256 == want
    assert hashed == [7]


@pytest.mark.parametrize("way", ["written", "renamed"])
def test_another_content_of_the_same_size_and_time_is_hashed_again(way, hashed, tmp_path):
    path, other = tmp_path / "x", tmp_path / "y"
    path.write_bytes(b"weights")
    status = path.stat()
    assert digest_of(path, "x").size == 7
    target = path if way == "written" else other
    target.write_bytes(b"WEIGHTS")
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    target.replace(path)
    assert digest_of(path, "x").sha256 == hashlib.sha256(b"WEIGHTS").hexdigest()
    assert hashed == [7, 7]


def test_what_was_just_written_is_not_remembered(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"weights")
    file = FileBytes.at(path, "x")
    assert file.digest().size == 7
    assert file.version not in file_view._digests


def test_what_is_hashed_is_what_was_meant(tmp_path):
    """A link that leads elsewhere, and back again, is told as well."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    link = tmp_path / "link"
    link.symlink_to("a")
    file = FileBytes.at(link, "the LoRA")
    link.unlink()
    link.symlink_to("b")
    for use in (file.digest, file.check, lambda: file.read_into(memoryview(bytearray(1)), 0)):
        with pytest.raises(SourceError, match="the LoRA was changed while it was read"):
            use()
    link.unlink()
    link.symlink_to("a")
    with pytest.raises(SourceError, match="the LoRA was changed while it was read"):
        file.check()


def test_a_process_that_runs_for_days_lets_go_of_what_it_knew_first(hashed, tmp_path, monkeypatch):
    monkeypatch.setattr(file_view, "_MOST", 3)
    monkeypatch.setattr(file_view, "_digests", {})
    paths = [tmp_path / str(number) for number in range(5)]
    for path in paths:
        path.write_text(path.name)
        digest_of(path, "x")
    assert len(file_view._digests) == 3
    for path in paths:
        assert digest_of(path, "x").sha256 == hashlib.sha256(path.name.encode()).hexdigest()
    assert len(hashed) == 10
