import os

import pytest

from loramerge.errors import LoramergeError
from loramerge.files import atomic
from loramerge.files.atomic import leftovers, recover, replacing, replacing_file
from loramerge.files.digest import files_of


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_folder_appears_when_it_is_complete(tmp_path):
    with replacing(tmp_path / "a" / "b") as staging:
        (staging / "x").write_text("1")
        assert not (tmp_path / "a" / "b").exists()
    assert list(files_of(tmp_path)) == ["a/b/x"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_whole(exchange, tmp_path, monkeypatch):
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    write(tmp_path / "x" / "old", "1")
    with replacing(tmp_path / "x") as staging:
        (staging / "new").write_text("2")
    assert list(files_of(tmp_path)) == ["x/new"]
    assert os.listdir(tmp_path) == ["x"]  # noqa: PTH208  # hidden ones too


def test_a_failure_leaves_what_was_there(tmp_path):
    write(tmp_path / "x" / "old", "1")

    def fail():
        with replacing(tmp_path / "x") as staging:
            (staging / "new").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(files_of(tmp_path)) == ["x/old"]


def test_a_failure_leaves_no_empty_folders(tmp_path):
    def fail():
        with replacing(tmp_path / "a" / "b" / "c"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_place_that_can_not_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LoramergeError, match="can't be written"), replacing(tmp_path / "file" / "x"):
        pass


def test_a_file_is_replaced_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "x").write_text("a file")
    with replacing(tmp_path / "x") as staging:
        (staging / "new").write_text("2")
    assert list(files_of(tmp_path)) == ["x/new"]
    assert os.listdir(tmp_path) == ["x"]  # noqa: PTH208  # hidden ones too


@pytest.mark.parametrize("exchange", [True, False])
def test_a_link_is_replaced_and_what_it_names_is_kept(exchange, tmp_path, monkeypatch):
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    write(tmp_path / "theirs" / "old", "1")
    (tmp_path / "x").symlink_to(tmp_path / "theirs")
    with replacing(tmp_path / "x") as staging:
        (staging / "new").write_text("2")
    assert list(files_of(tmp_path)) == ["theirs/old", "x/new"]
    assert sorted(os.listdir(tmp_path)) == ["theirs", "x"]  # noqa: PTH208  # hidden ones too


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def with_and_without_exchange(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)


@pytest.mark.usefixtures("with_and_without_exchange")
def test_what_is_replaced_is_looked_at_before_and_after(tmp_path):
    write(tmp_path / "x" / "old", "1")
    seen = []
    with replacing(tmp_path / "x", lambda old: seen.append((old, list(files_of(old))))) as staging:
        (staging / "new").write_text("2")
    assert [files for _, files in seen] == [["old"], ["old"]]
    assert seen[0][0] == tmp_path / "x" != seen[1][0]
    assert list(files_of(tmp_path)) == ["x/new"]


@pytest.mark.usefixtures("with_and_without_exchange")
@pytest.mark.parametrize("looks", [1, 2])
def test_what_must_not_be_replaced_stays(tmp_path, looks):
    write(tmp_path / "x" / "old", "1")
    left = iter(range(looks - 1))

    def check(_):
        if next(left, None) is None:
            raise PermissionError("it is precious")

    with pytest.raises(LoramergeError, match="can't be written"), replacing(tmp_path / "x", check) as staging:
        (staging / "new").write_text("2")
    assert list(files_of(tmp_path)) == ["x/old"]
    assert os.listdir(tmp_path) == ["x"]  # noqa: PTH208  # hidden ones too


@pytest.mark.parametrize("mode", [0o2775, 0o700, 0o555])
def test_a_new_folder_has_the_mode_of_the_old_one(tmp_path, mode):
    (tmp_path / "x").mkdir()
    (tmp_path / "x").chmod(mode)
    with replacing(tmp_path / "x") as staging:
        (staging / "new").write_text("2")
    assert (tmp_path / "x").stat().st_mode & 0o7777 == mode
    assert (tmp_path / "x" / "new").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root may give folders away")
def test_a_new_folder_belongs_to_whom_the_old_one_did(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x").chmod(0o2775)
    os.chown(tmp_path / "x", 1234, 5678)
    with replacing(tmp_path / "x") as staging:
        (staging / "new").write_text("2")
    status = (tmp_path / "x").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1234, 5678, 0o2775)
    assert (tmp_path / "x" / "new").stat().st_gid == 5678


def test_a_new_folder_that_can_not_take_the_place_leaves_the_old_one_there(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    write(tmp_path / "x" / "old", "1")
    with pytest.raises(LoramergeError, match="can't be written"), replacing(tmp_path / "x") as staging:
        staging.rmdir()
    assert list(files_of(tmp_path)) == ["x/old"]


def test_a_folder_that_stepped_aside_is_put_back(tmp_path):
    write(tmp_path / ".x.old.partial" / "old", "1")
    assert recover(tmp_path / "x")
    assert list(files_of(tmp_path)) == ["x/old"]
    assert not recover(tmp_path / "x")


def test_a_folder_that_stepped_aside_for_a_new_one_goes(tmp_path):
    write(tmp_path / ".x.old.partial" / "old", "1")
    write(tmp_path / "x" / "new", "2")
    assert recover(tmp_path / "x")
    assert list(files_of(tmp_path)) == ["x/new"]


def test_leftovers_are_those_of_the_place_and_of_no_other(tmp_path):
    write(tmp_path / ".x.old.partial" / "old", "1")
    write(tmp_path / ".x.notes.partial", "theirs")
    with replacing(tmp_path / "x") as ours, replacing(tmp_path / "x.y"), replacing(tmp_path / "y"):
        assert leftovers(tmp_path / "x") == [ours]
    with replacing_file(tmp_path / "file"):
        assert len(leftovers(tmp_path / "file")) == 1
    assert leftovers(tmp_path / "absent" / "x") == []


def test_a_file_appears_when_it_is_complete(tmp_path):
    with replacing_file(tmp_path / "x") as stream:
        stream.write(b"1")
        assert not (tmp_path / "x").exists()
    assert (tmp_path / "x").read_bytes() == b"1"
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~atomic._umask()


def test_a_file_that_fails_leaves_what_was_there(tmp_path):
    write(tmp_path / "x", "old")

    def fail():
        with replacing_file(tmp_path / "x") as stream:
            stream.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {name: path.read_text() for name, path in files_of(tmp_path).items()} == {"x": "old"}
