import os

import pytest

from loramerge.artifact import contents
from loramerge.artifact.contents import check_place
from loramerge.artifact.in_toto import Statement
from loramerge.errors import LoramergeError
from loramerge.files.digest import files_of, sha256_of


def make(place, recipe="mine", **files):
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(text)
    definition = {"buildDefinition": {"externalParameters": {"recipe": {"name": recipe}}}}
    (place / "provenance.json").write_text(
        Statement({name: sha256_of(place / name) for name in files}, definition).text()
    )
    return place


def test_an_earlier_artifact_of_the_same_recipe_may_be_replaced(tmp_path):
    place = make(tmp_path / "x", a="1")
    check_place(place, "mine", force=False)
    check_place(tmp_path / "absent", "mine", force=False)
    (tmp_path / "empty").mkdir()
    check_place(tmp_path / "empty", "mine", force=False)
    assert list(files_of(place)) == ["a", "provenance.json"]


def test_another_run_replaces_it_while_it_is_looked_at(tmp_path, monkeypatch):
    place, other = make(tmp_path / "x", a="1"), make(tmp_path / "y", b="2", c="3")
    look, looks = contents.files_of, []

    def listed(folder):
        if not looks:
            place.rename(tmp_path / "aside")
            other.rename(place)
        looks.append(folder)
        return look(folder)

    monkeypatch.setattr(contents, "files_of", listed)
    check_place(place, "mine", force=False)  # and never: it holds b and c, which are not the artifact's
    assert len(looks) == 2


def test_a_folder_that_holds_what_must_stay_is_never_replaced(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    for place, inputs in ((tmp_path, []), (tmp_path / "a" / "b", []), (tmp_path / "a", [tmp_path / "a" / "b"])):
        with pytest.raises(LoramergeError, match="an artifact replaces its folder"):
            check_place(place, "mine", force=True, inputs=inputs)


def test_a_large_file_that_is_damaged_is_one_that_was_changed(tmp_path):
    place = make(tmp_path / "x", **{"a.safetensors": "1"})
    os.truncate(place / "a.safetensors", 65 << 20)
    with pytest.raises(LoramergeError, match=r"changed since they were made: a\.safetensors"):
        check_place(place, "mine", force=False)


def test_what_an_artifact_holds_is_in_its_provenance(tmp_path):
    place = make(tmp_path / "x", a="1")
    check_place(place, "mine", force=False)
    with pytest.raises(LoramergeError, match="an artifact of the recipe mine, not of other"):
        check_place(place, "other", force=False)
    (place / "a").write_text("by hand")
    with pytest.raises(LoramergeError, match="changed since they were made: a"):
        check_place(place, "mine", force=False)
    check_place(place, "mine", force=True)
    (place / "a").unlink()  # what is missing is made again
    check_place(place, "mine", force=False)
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


def test_a_place_that_holds_what_goes_in_is_named_once(tmp_path):
    with pytest.raises(LoramergeError, match=r"x is no folder of its own, and an artifact replaces its folder"):
        check_place(tmp_path / "x", "mine", force=True, inputs=[tmp_path / "x"])
    with pytest.raises(LoramergeError, match=r"x holds .*x/ink, and an artifact replaces its folder"):
        check_place(tmp_path / "x", "mine", force=True, inputs=[tmp_path / "x" / "ink"])
