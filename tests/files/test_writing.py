from errno import ENOSPC

import pytest

from loramerge.errors import LoramergeError
from loramerge.files.writing import writing


def test_the_place_and_the_reason_are_named(tmp_path):
    with pytest.raises(LoramergeError) as caught, writing(tmp_path / "x", "make room"):
        raise OSError(ENOSPC, "No space left on device")
    assert str(caught.value) == f"{tmp_path / 'x'} can't be written: No space left on device\n  hint: make room"
    assert caught.value.__cause__.errno == ENOSPC


def test_other_errors_pass(tmp_path):
    with pytest.raises(KeyError), writing(tmp_path):
        raise KeyError


def test_a_file_where_a_folder_has_to_be_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path / "notes.txt" / "x", tmp_path / "notes.txt" / "below" / "x"):
        with pytest.raises(LoramergeError) as caught, writing(place):
            place.parent.mkdir(parents=True)
        assert str(caught.value) == f"{place} can't be written: {tmp_path / 'notes.txt'} is a file"
