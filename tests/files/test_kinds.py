"""What is neither a file nor a folder is never replaced."""

import os

import pytest

from loramerge.errors import LoramergeError
from loramerge.files.atomic import replacing, replacing_file
from loramerge.files.kinds import special_at


@pytest.mark.parametrize("name", ["x", "x/deep/pipe"])
@pytest.mark.parametrize("late", [False, True])
def test_a_pipe_is_never_replaced_not_even_one_that_came_late(name, late, tmp_path):
    def make():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)

    if not late:
        make()

    def replace():
        with replacing(tmp_path / "x") as staging:
            (staging / "new").write_text("new")
            if late:
                make()

    with pytest.raises(LoramergeError, match=f"{tmp_path / name} is a named pipe, which is never replaced"):
        replace()
    assert (tmp_path / name).is_fifo()
    assert os.listdir(tmp_path) == ["x"]  # noqa: PTH208  # hidden ones too


def test_nor_is_one_in_the_place_of_a_file(tmp_path):
    os.mkfifo(tmp_path / "x")
    with (
        pytest.raises(OSError, match="is a named pipe, which is never replaced"),
        replacing_file(tmp_path / "x") as file,
    ):
        file.write(b"new")
    assert os.listdir(tmp_path) == ["x"]  # noqa: PTH208


def test_files_folders_and_links_are_nothing_special(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("x")
    (tmp_path / "link").symlink_to("/dev/null")
    assert special_at(tmp_path) is None
    assert special_at(tmp_path / "nothing") is None
