"""Digests of large files outlive a run, as long as nothing about the file changes."""

from __future__ import annotations

import hashlib
import json
import os
import threading

import pytest

from loramerge.files import file_view, kept_digests
from loramerge.files.cache import cache_folder
from loramerge.files.file_view import FileBytes
from loramerge.files.kept_digests import reading_anew

CONTENT = b"weights"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty one; files of a few bytes, of this moment, are worth keeping."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_digests, "LEAST", 1)
    monkeypatch.setattr(file_view, "_UNSETTLED", -1)
    return tmp_path / "cache" / "loramerge" / "digests"


@pytest.fixture
def next_run(monkeypatch):
    """Forgets what a program knows while it runs; tells what is read from then on."""
    found = []
    sha256_in = file_view.sha256_in

    def forget():
        for known in ("_digests", "_from_entries", "_damaged"):
            monkeypatch.setattr(file_view, known, {})
        monkeypatch.setattr(
            file_view, "sha256_in", lambda file: found.append(os.fstat(file.fileno())) or sha256_in(file)
        )
        found.clear()
        return found

    return forget


@pytest.fixture
def path(tmp_path, next_run):
    """A file that a run has hashed."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(CONTENT)
    next_run()
    FileBytes.at(file, "model").digest()
    probe = tmp_path / "probe"
    while not probe.exists() or probe.stat().st_ctime_ns <= file.stat().st_ctime_ns:
        probe.write_bytes(b"")  # until the file system's clock has moved on: changes of one tick are not told apart
    return file


def digest(path):
    return FileBytes.at(path, "model").digest().sha256


def of(content):
    return hashlib.sha256(content).hexdigest()


def test_an_unchanged_file_is_not_read_again(path, next_run):
    read = next_run()
    file = FileBytes.at(path, "model")
    assert file.digest().sha256 == of(CONTENT)
    assert (read, file.hashed_before, file.damaged_entry) == ([], True, None)


def test_links_to_a_file_and_a_new_name_are_that_file(path, next_run, tmp_path):
    (tmp_path / "snapshot").symlink_to(path)
    read = next_run()
    assert digest(tmp_path / "snapshot") == of(CONTENT)
    assert read == []


def touched(path, tmp_path):
    os.utime(path, (0, 0))


def rewritten(path, tmp_path):
    """The same size, and a time that is put back."""
    status = path.stat()
    path.write_bytes(CONTENT.upper())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced(path, tmp_path):
    status, other = path.stat(), tmp_path / "other"
    other.write_bytes(CONTENT.upper())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def longer(path, tmp_path):
    path.write_bytes(CONTENT * 2)


@pytest.mark.parametrize("change", [touched, rewritten, replaced, longer])
def test_a_changed_file_is_read_again(change, path, next_run, tmp_path):
    change(path, tmp_path)
    read = next_run()
    file = FileBytes.at(path, "model")
    assert file.digest().sha256 == of(path.read_bytes())
    assert (len(read), file.hashed_before) == (1, False)
    next_run()
    assert digest(path) == of(path.read_bytes())
    assert read == []  # and is known again


def test_what_was_just_written_is_not_kept(monkeypatch, next_run, tmp_path, cache):
    monkeypatch.setattr(file_view, "_UNSETTLED", 2_000_000_000)
    path = tmp_path / "new"
    path.write_bytes(CONTENT)
    next_run()
    assert digest(path) == of(CONTENT)
    assert not cache.exists()


def test_what_is_hashed_in_a_moment_is_not_kept(monkeypatch, next_run, tmp_path, cache):
    monkeypatch.setattr(kept_digests, "LEAST", len(CONTENT) + 1)
    path = tmp_path / "small"
    path.write_bytes(CONTENT)
    next_run()
    assert digest(path) == of(CONTENT)
    assert not cache.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"entry": 1}', b"\xff", b"[" * 4000, b'{"sha256": "", "entry": {}}', "forged"],
    ids=lambda content: repr(content)[:20],
)
def test_a_damaged_entry_is_not_used_and_mended(content, path, next_run, cache):
    (entry,) = cache.iterdir()
    sound = entry.read_bytes()
    entry.write_bytes(sound.replace(of(CONTENT).encode(), of(b"x").encode()) if content == "forged" else content)
    read = next_run()
    file = FileBytes.at(path, "model")
    assert file.digest().sha256 == of(CONTENT)
    assert (len(read), file.damaged_entry) == (1, str(entry))
    assert entry.read_bytes() == sound
    next_run()
    assert digest(path) == of(CONTENT)
    assert read == []


def test_an_entry_of_another_version_of_the_program_is_no_damage(path, next_run, cache, monkeypatch):
    monkeypatch.setattr(kept_digests, "_LAYOUT", 0)
    read = next_run()
    file = FileBytes.at(path, "model")
    assert file.digest().sha256 == of(CONTENT)
    assert (len(read), file.damaged_entry) == (1, None)


def test_reading_anew_reads_in_every_thread_and_keeps_what_it_finds(path, next_run):
    read = next_run()
    with reading_anew():
        thread = threading.Thread(target=digest, args=(path,))
        thread.start()
        thread.join()
        assert len(read) == 1
        assert digest(path) == of(CONTENT)
        assert len(read) == 1  # it was read while this program ran
    with reading_anew(anew=False):
        next_run()
        assert digest(path) == of(CONTENT)
    assert read == []


def test_a_file_that_changes_under_an_entry_is_told(path, next_run):
    next_run()
    file = FileBytes.at(path, "model")
    path.write_bytes(CONTENT.upper())
    with pytest.raises(file_view.SourceError, match="model was changed while it was read"):
        file.digest()


@pytest.mark.parametrize("what", ["a file in the way", "no home"])
def test_without_a_folder_every_run_reads(what, next_run, tmp_path, monkeypatch):
    if what == "no home":
        monkeypatch.setattr(kept_digests, "cache_folder", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    else:
        (tmp_path / "cache").write_text("")
    path = tmp_path / "model.safetensors"
    path.write_bytes(CONTENT)
    for _ in range(2):
        read = next_run()
        assert digest(path) == of(CONTENT)
        assert len(read) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="folders can't be closed to this user")
def test_a_folder_that_is_read_only_is_read(path, next_run, cache, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(CONTENT)
    cache.chmod(0o500)
    try:
        read = next_run()
        assert digest(path) == of(CONTENT)
        assert read == []
        assert digest(other) == of(CONTENT)
        assert len(read) == 1
    finally:
        cache.chmod(0o700)


def test_the_oldest_entries_make_room(next_run, tmp_path, cache, monkeypatch):
    monkeypatch.setattr(kept_digests, "_MOST", 8)
    next_run()
    for number in range(30):
        path = tmp_path / f"{number}"
        path.write_bytes(CONTENT)
        digest(path)
        for age, entry in enumerate(sorted(cache.iterdir(), key=lambda each: each.stat().st_mtime)):
            os.utime(entry, (number + age / 100, number + age / 100))
        assert len([*cache.iterdir()]) <= 8
    read = next_run()
    digest(path)
    assert read == []  # the last one is there


def test_entries_say_nothing_of_where_a_file_lies(path, cache):
    (entry,) = cache.iterdir()
    assert set(json.loads(entry.read_text())["entry"]) == {
        "layout", "device", "inode", "size", "modified", "changed", "sha256",
    }  # fmt: skip
    assert cache.parent == cache_folder()
