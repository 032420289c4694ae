"""Sheets: readable labels whatever the size of the pictures, and no sheet that is too large to open."""

from __future__ import annotations

import pytest
from PIL import Image

from loramerge.previews.contact_sheet import Row, sheet


@pytest.fixture
def picture(tmp_path):
    def paint(width, height, colour="red"):
        path = tmp_path / f"{width}x{height}-{colour}.png"
        Image.new("RGB", (width, height), colour).save(path)
        return path

    return paint


def ink(page, box):
    """Height in pixels of what is written in a part of a page."""
    found = page.crop(box).convert("L").point(lambda value: 255 * (value < 128)).getbbox()
    return found[3] - found[1] if found else 0


@pytest.mark.parametrize(
    ("size", "cell"),
    [((1024, 1024), (512, 512)), ((64, 64), (256, 256)), ((100, 40), (300, 120)), ((300, 200), (300, 200))],
)
def test_pictures_are_shrunk_or_magnified_by_whole_numbers(picture, size, cell):
    page = sheet(["a", "b"], [Row("seed 0 · x", [picture(*size), picture(*size, "blue")])])
    reds = [(x, y) for x in range(page.width) for y in (page.height - 20,) if page.getpixel((x, y)) == (255, 0, 0)]
    blues = [(x, y) for x in range(page.width) for y in (page.height - 20,) if page.getpixel((x, y)) == (0, 0, 255)]
    assert (len(reds), len(blues)) == (cell[0], cell[0])
    assert sum(page.getpixel((reds[0][0], y)) == (255, 0, 0) for y in range(page.height)) == cell[1]


def test_labels_grow_with_the_pictures(picture):
    large, small = (sheet(["H"], [Row("", [picture(size, size)])]) for size in (1024, 256))
    heights = [ink(page, (0, 0, 100, 60 if page is large else 28)) for page in (large, small)]
    assert heights[0] >= 20
    assert 10 <= heights[1] < heights[0]


def test_magnified_pixels_stay_pixels(tmp_path):
    path = tmp_path / "x.png"
    board = Image.new("RGB", (2, 1), "red")
    board.putpixel((1, 0), (0, 0, 255))
    board.save(path)
    page = sheet([""], [Row("", [path])])
    colours = {page.getpixel((x, page.height - 20)) for x in range(page.width)}
    assert colours == {(255, 255, 255), (255, 0, 0), (0, 0, 255)}


def test_what_the_font_lacks_is_written_as_near_as_it_can_be(picture):
    path = picture(256, 256)
    pages = {label: sheet([label], [Row("", [path])]).tobytes() for label in ("e x 熊", "é × 熊", "e x ?", "e x !")}
    assert pages["é × 熊"] == pages["e x ?"] == pages["e x 熊"] != pages["e x !"]


def test_long_labels_end_where_their_room_does(picture):
    path = picture(256, 256)
    page = sheet(["a label that is much longer than its column is wide", "b"], [Row("x" * 500, [path, path])])
    assert page.width < 600
    alone = sheet(["", "b"], [Row("", [path, path])])
    right = (page.width // 2 + 4, 0, page.width, 26)
    assert page.crop(right).tobytes() == alone.crop(right).tobytes()


def test_a_title_stands_above_everything(picture):
    plain, titled = (sheet(["a"], [Row("b", [picture(256, 256)])], title=title) for title in ("", "seed 0"))
    assert titled.height > plain.height
    assert (
        titled.crop((0, titled.height - 280, titled.width, titled.height)).tobytes()
        == plain.crop((0, plain.height - 280, plain.width, plain.height)).tobytes()
    )


@pytest.mark.slow
def test_a_sheet_of_very_many_pictures_can_still_be_opened(picture, tmp_path):
    path = picture(512, 512)
    page = sheet(["a"] * 6, [Row(str(number), [path] * 6) for number in range(60)])
    assert page.width * page.height < Image.MAX_IMAGE_PIXELS
    assert page.width > 6 * 350
    page.save(tmp_path / "x.png")
