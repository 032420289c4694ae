import pytest

from loramerge.errors import SourceError
from loramerge.files.file_view import FileBytes
from loramerge.files.tensor_header import read_header


def said_of(content, tmp_path):
    (tmp_path / "ink.safetensors").write_bytes(content)
    with pytest.raises(SourceError) as caught:
        read_header(FileBytes.at(tmp_path / "ink.safetensors", "ink.safetensors"))
    return str(caught.value)


@pytest.mark.parametrize("page", ["<!DOCTYPE html>\n<html>", "\n  <html><body>Log in</body>", "<?xml version='1.0'?>"])
def test_a_page_in_place_of_the_file(page, tmp_path):
    assert said_of(page.encode(), tmp_path).startswith("ink.safetensors is a web page, and no safetensors file")


@pytest.mark.parametrize(
    "text", ['{"error": "Unauthorized"}', "version: 1\nname: ink\n", "Größe", "ä" * 200, "x" + "猫" * 200]
)
def test_any_other_text_shows_how_it_begins(text, tmp_path):
    said = said_of(text.encode(), tmp_path)
    assert said.startswith("ink.safetensors is a text, and no safetensors file; it begins with ")
    assert text[:6].split("\n")[0] in said


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00\x01 and more", b"GGUF\x03\x00\x00\x00" + bytes(30), b"abcdefg\x01{}"]
)
def test_what_is_no_text_is_called_none(content, tmp_path):
    assert "not a sound safetensors file" in said_of(content, tmp_path)
