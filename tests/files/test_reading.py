import pytest

from loramerge.errors import SourceError
from loramerge.files.reading import read_json, reading


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
