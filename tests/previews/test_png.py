"""Pictures as files."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loramerge.errors import LoramergeError
from loramerge.previews.png import is_finished, refuse_others, save, save_for_card

RED = Image.new("RGB", (8, 8), "red")
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


@given(prompt=TEXT, negative=TEXT)
def test_what_a_picture_says_is_what_was_written(tmp_path_factory, prompt, negative):
    path = tmp_path_factory.getbasetemp() / "x.png"
    settings = {"prompt": prompt, "negative_prompt": negative, "seed": "7"}
    save(RED, path, settings)
    assert is_finished(path, settings)
    assert not is_finished(path, settings | {"seed": "8"})
    assert not is_finished(path, {"prompt": prompt})


def test_what_is_no_whole_picture_is_not_finished(tmp_path):
    path = tmp_path / "x.png"
    assert not is_finished(path, {})
    save(RED, path, {})
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 16):
        path.write_bytes(whole[:size])
        assert not is_finished(path, {})
    path.write_text("no picture")
    assert not is_finished(path, {})


def test_a_pipe_keeps_nobody_waiting_and_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    save(RED, tmp_path / "bomb.png", {})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    for path in tmp_path.iterdir():
        assert not is_finished(path, {})
        with pytest.raises(LoramergeError, match="did not draw"):
            refuse_others([path])


def test_the_same_picture_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save(RED, tmp_path / f"{name}.png", {"x": "größer 熊"})
        save_for_card(RED, tmp_path / f"{name}.jpg")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.png", "b.jpg", "b.png"]


def test_a_sheet_for_a_page_is_not_larger_than_pages_show(tmp_path):
    save_for_card(Image.new("RGB", (9000, 300)), tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as small:
        assert small.size == (4096, 137)


def test_only_our_own_pictures_are_replaced(tmp_path):
    save(RED, tmp_path / "a.png", {})
    save_for_card(RED, tmp_path / "b.jpg")
    names = [tmp_path / name for name in ("a.png", "b.jpg", "none.png")]
    refuse_others(names)
    RED.save(tmp_path / "c.png")
    RED.save(tmp_path / "d.jpg", comment=b"mine")
    with pytest.raises(LoramergeError, match=r"did not draw: c\.png, d\.jpg"):
        refuse_others([*names, tmp_path / "c.png", tmp_path / "d.jpg"])


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LoramergeError, match=r"none/x\.png can't be written: No such file"):
        save(RED, tmp_path / "none/x.png", {})


def test_an_interrupt_leaves_no_part(tmp_path, monkeypatch):
    def interrupted(_picture, file, **_options):
        file.write_bytes(b"begun")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(RED, tmp_path / "x.png", {})
    assert not [*tmp_path.iterdir()]
