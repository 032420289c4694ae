import json
import os

import pytest

from loramerge import artifact
from loramerge.artifact import check_place, replacing
from loramerge.digest import files_of
from loramerge.errors import LoramergeError
from loramerge.statement import Statement


def make(place, recipe="mine", **files):
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(text)
    report = {"recipe": {"name": recipe}, "files": {name: {} for name in files}}
    (place / "report.json").write_text(json.dumps(report))
    return place


def test_a_folder_appears_when_it_is_complete(tmp_path):
    with replacing(tmp_path / "a" / "b") as staging:
        (staging / "x").write_text("1")
        assert not (tmp_path / "a" / "b").exists()
    assert list(files_of(tmp_path)) == ["a/b/x"]


@pytest.mark.parametrize("atomic", [True, False])
def test_a_folder_is_replaced_whole(atomic, tmp_path, monkeypatch):
    if not atomic:
        monkeypatch.setattr(artifact, "_exchange", lambda *_: False)
    make(tmp_path / "x", old="1")
    with replacing(tmp_path / "x") as staging:
        (staging / "new").write_text("2")
    assert list(files_of(tmp_path)) == ["x/new"]
    assert os.listdir(tmp_path) == ["x"]  # noqa: PTH208  # hidden ones too


def test_a_failure_leaves_what_was_there(tmp_path):
    make(tmp_path / "x", old="1")

    def fail():
        with replacing(tmp_path / "x") as staging:
            (staging / "new").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(files_of(tmp_path)) == ["x/old", "x/report.json"]


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


def test_an_earlier_artifact_of_the_same_recipe_may_be_replaced(tmp_path):
    place = make(tmp_path / "x", a="1")
    check_place(place, "mine", force=False)
    check_place(tmp_path / "absent", "mine", force=False)
    (tmp_path / "empty").mkdir()
    check_place(tmp_path / "empty", "mine", force=False)
    assert list(files_of(place)) == ["a", "report.json"]


def test_a_file_is_replaced_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "x").write_text("a file")
    with replacing(tmp_path / "x") as staging:
        (staging / "new").write_text("2")
    assert list(files_of(tmp_path)) == ["x/new"]
    assert os.listdir(tmp_path) == ["x"]  # noqa: PTH208  # hidden ones too


def test_a_folder_that_holds_what_must_stay_is_never_replaced(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    for place, inputs in ((tmp_path, []), (tmp_path / "a" / "b", []), (tmp_path / "a", [tmp_path / "a" / "b"])):
        with pytest.raises(LoramergeError, match="an artifact replaces its folder"):
            check_place(place, "mine", force=True, inputs=inputs)


def test_what_an_artifact_holds_is_in_its_provenance(tmp_path):
    place = make(tmp_path / "x", a="1")
    recipe = {"buildDefinition": {"externalParameters": {"recipe": {"name": "mine"}}}}
    statement = Statement({"a": "0" * 64, "report.json": "0" * 64}, recipe)
    (place / "provenance.json").write_text(statement.text())
    (place / "report.json").write_text("{}")
    check_place(place, "mine", force=False)
    with pytest.raises(LoramergeError, match="an artifact of the recipe mine, not of other"):
        check_place(place, "other", force=False)
    (place / "notes.txt").write_text("mine")
    with pytest.raises(LoramergeError, match=r"not the artifact's: notes.txt"):
        check_place(place, "mine", force=False)
    (place / "provenance.json").write_text("{}")
    with pytest.raises(LoramergeError, match="no artifact of loramerge"):
        check_place(place, "mine", force=False)


def test_nothing_else_is_replaced_without_force(tmp_path):
    other = make(tmp_path / "other", recipe="theirs", a="1")
    grown = make(tmp_path / "grown", a="1")
    (grown / "notes.txt").write_text("mine")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "x").write_text("")
    file = tmp_path / "file"
    file.write_text("")
    for place, words in (
        (other, "an artifact of the recipe theirs"),
        (grown, "not the artifact's: notes.txt"),
        (plain, "no artifact of loramerge"),
        (file, "is a file"),
    ):
        with pytest.raises(LoramergeError, match=words) as error:
            check_place(place, "mine", force=False)
        assert "--force" in error.value.hint
        check_place(place, "mine", force=True)
