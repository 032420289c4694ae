import os
import socket
from pathlib import Path

import pytest

from loramerge.errors import SourceError
from loramerge.files.reading import LARGEST, content_of, read_json, reading, text_of


def test_an_object_is_read(tmp_path):
    (tmp_path / "x.json").write_text('{"größe": [1, null]}', encoding="utf-8")
    assert read_json(tmp_path / "x.json", "x") == {"größe": [1, None]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2, column 6: Expecting ':' delimiter"),
        (b"", "line 1, column 1: Expecting value"),
        (b'{"a": 1}\n\n{}', "line 3, column 1: Extra data"),
        (b'{"a":\n "\xff"}', "line 2: it is not UTF-8"),
        (b"[1]", "it is a list"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"1" * 5000, "Exceeds the limit"),
    ],
)
def test_what_is_no_object_is_told_with_its_line(tmp_path, data, said):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(SourceError) as caught:
        read_json(tmp_path / "x.json", "hf://me/base/x.json")
    assert caught.value.message.startswith(f"hf://me/base/x.json should be a JSON object; {said}")
    assert caught.value.hint == "fetch it again"


def test_what_can_not_be_read_has_the_name_that_it_is_shown_by(tmp_path):
    with pytest.raises(SourceError, match=r"^the base/x\.json can't be read: No such file or directory$"):
        read_json(tmp_path / "x.json", "the base/x.json")
    with pytest.raises(SourceError, match=r"^y can't be read: "), reading("y"):
        tmp_path.read_bytes()


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_large(path):
    path.touch()
    os.truncate(path, LARGEST + 1)


ODD = {
    "pipe": (os.mkfifo, "it is a named pipe, and only plain files are read"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a device, and only plain files are read"),
    "socket": (make_socket, "it is a socket, and only plain files are"),
    "folder": (lambda path: path.mkdir(), "Is a directory"),
    "large": (make_large, "it is larger than 64 MiB"),
}


@pytest.fixture(params=ODD)
def odd(request, tmp_path, monkeypatch):
    """A file that has no end, keeps its reader waiting, or does not fit into memory; and what is said of it."""
    monkeypatch.chdir(tmp_path)
    make, said = ODD[request.param]
    make(Path("x.json"))
    return Path("x.json"), said


def test_only_plain_files_of_a_sensible_size_are_read(odd):
    path, said = odd
    with pytest.raises(SourceError, match=f"the base/x.json can't be read: {said}"):
        read_json(path, "the base/x.json")
    with pytest.raises(OSError, match=said):
        text_of(path)


def test_a_pipe_is_read_where_it_is_asked_for_and_empty_where_nobody_writes(tmp_path):
    reader, writer = os.pipe()
    os.write(writer, b"version: 1")
    os.close(writer)
    assert content_of(Path(f"/dev/fd/{reader}"), pipes=True) == b"version: 1"
    os.close(reader)
    os.mkfifo(tmp_path / "pipe")
    assert content_of(tmp_path / "pipe", pipes=True) == b""


def test_text_has_its_lines_as_python_has_them(tmp_path):
    (tmp_path / "x").write_bytes("ä\r\nb\rc".encode())
    assert text_of(tmp_path / "x") == (tmp_path / "x").read_text(encoding="utf-8")
    (tmp_path / "x").write_bytes(b"\xff")
    assert text_of(tmp_path / "x", errors="replace") == "\ufffd"
