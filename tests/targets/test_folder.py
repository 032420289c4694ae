import errno
import json
import os

import pytest

from loramerge.artifact.model_card import written
from loramerge.errors import PublishError
from loramerge.files import atomic
from loramerge.files.digest import files_of, sha256_of
from loramerge.targets import FolderTarget, folder, folder_publication
from loramerge.targets.target import Delivery


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "artifact"
    (folder / "peft").mkdir(parents=True)
    for name, text in {"mine.safetensors": "1", "peft/config.json": "2", "peft/model.safetensors": "3"}.items():
        (folder / name).write_text(text)
    return files_of(folder)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "target"


def put(files, place, *, force=False, recipe="mine"):
    return FolderTarget(kind="folder", path=place.name).publish(Delivery(recipe, files), place.parent, force=force)


def live(place, recipe="mine"):
    return FolderTarget(kind="folder", path=place.name).live(recipe, place.parent)


def seen(place):
    return {name: path.read_text() for name, path in files_of(place).items() if not name.startswith(".loramerge/")}


def test_a_new_folder_holds_the_files(files, place):
    assert put(files, place).changed
    assert seen(place) == {"mine.safetensors": "1", "peft/config.json": "2", "peft/model.safetensors": "3"}


def test_publishing_again_writes_nothing(files, place):
    put(files, place)
    before = {name: path.stat().st_mtime_ns for name, path in files_of(place).items()}
    assert not put(files, place).changed
    assert before == {name: path.stat().st_mtime_ns for name, path in files_of(place).items()}


def test_what_is_no_longer_published_goes_away(files, place):
    put(files, place)
    assert put({"mine.safetensors": files["mine.safetensors"]}, place).changed
    assert seen(place) == {"mine.safetensors": "1"}


def test_a_folder_with_files_of_others_keeps_them(files, place):
    place.mkdir()
    (place / "theirs.safetensors").write_text("theirs")
    put(files, place)
    put({"mine.safetensors": files["peft/config.json"]}, place)
    assert seen(place) == {"mine.safetensors": "2", "theirs.safetensors": "theirs"}


def test_two_recipes_share_a_folder(files, place):
    put({"a": files["mine.safetensors"]}, place, recipe="one")
    put({"b": files["peft/config.json"]}, place, recipe="two")
    put({"a": files["peft/model.safetensors"]}, place, recipe="one")
    assert seen(place) == {"a": "3", "b": "2"}


def test_a_file_of_others_under_the_same_name_is_never_overwritten_without_force(files, place):
    place.mkdir()
    (place / "mine.safetensors").write_text("theirs")
    with pytest.raises(PublishError, match=r"holds mine.safetensors, which this recipe did not put there") as error:
        put(files, place)
    assert "--force" in error.value.hint
    assert seen(place) == {"mine.safetensors": "theirs"}
    assert put(files, place, force=True).changed
    assert seen(place)["mine.safetensors"] == "1"


def test_a_file_changed_by_hand_is_not_overwritten_without_force(files, place):
    put(files, place)
    (place / "peft" / "config.json").write_text("edited")
    changed = {**files, "peft/config.json": files["mine.safetensors"]}
    with pytest.raises(PublishError, match="was changed since"):
        put(changed, place)
    assert seen(place)["peft/config.json"] == "edited"


def test_a_file_of_others_inside_our_own_folder_is_not_lost(files, place):
    place.mkdir()
    (place / "theirs").write_text("")
    put(files, place)
    (place / "peft" / "notes.txt").write_text("theirs")
    with pytest.raises(PublishError, match=r"peft/notes.txt"):
        put({**files, "mine.safetensors": files["peft/config.json"]}, place)


def test_a_file_that_the_user_put_in_place_of_ours_is_kept(files, place):
    put({"old.safetensors": files["mine.safetensors"]}, place)
    (place / "old.safetensors").write_text("theirs")
    put({"new.safetensors": files["mine.safetensors"]}, place)
    assert seen(place) == {"new.safetensors": "1", "old.safetensors": "theirs"}


def test_a_file_of_others_with_the_same_content_stays_theirs(files, place):
    place.mkdir()
    (place / "recipe.yaml").write_text("1")
    (place / "other").write_text("theirs")
    put({"recipe.yaml": files["mine.safetensors"], "x": files["peft/config.json"]}, place)
    put({"x": files["peft/config.json"], "y": files["peft/config.json"]}, place)
    assert seen(place) == {"other": "theirs", "recipe.yaml": "1", "x": "2", "y": "2"}


EDIT = "\n## Mine\n\nWords.\n"


@pytest.fixture
def card(files):
    """The artifact's model card, and how to write another one."""
    path = files["mine.safetensors"].with_name("README.md")
    files["README.md"] = path

    def write(text):
        path.write_text(written("license: mit\n", text), encoding="utf-8")

    write("# merged")
    return write


def edited(place):
    text = (place / "README.md").read_text().replace("---\n", "---\nlanguage: en\n", 1) + EDIT
    (place / "README.md").write_text(text)
    return text


@pytest.mark.parametrize("others", [False, True])
def test_what_the_owner_wrote_into_the_card_survives(files, place, card, others):
    place.mkdir()
    if others:
        (place / "theirs").write_text("")
    put(files, place)
    text = edited(place)
    assert live(place).drift == ()
    assert live(place).refusal == ""
    assert not put(files, place).changed
    assert seen(place)["README.md"] == text
    card("# merged anew")
    assert put(files, place).changed
    found = seen(place)["README.md"]
    assert "language: en\n" in found
    assert "# merged anew" in found
    assert "# merged\n" not in found
    assert found.endswith(EDIT)
    assert live(place).drift == ()


def test_our_part_of_the_card_changed_by_hand_is_drift(files, place, card):
    put(files, place)
    (place / "README.md").write_text(edited(place).replace("# merged", "# taken"))
    assert live(place).drift == ("README.md was changed",)
    card("# merged anew")
    with pytest.raises(PublishError, match=r"README\.md.*was changed since"):
        put(files, place)


@pytest.mark.parametrize("others", [False, True])
def test_a_card_with_words_of_its_owner_is_not_removed(files, place, card, others):
    place.mkdir()
    if others:
        (place / "theirs").write_text("")
    put(files, place)
    text = edited(place)
    del files["README.md"]
    assert put(files, place).changed
    assert seen(place)["README.md"] == text


@pytest.mark.parametrize("way", ["pruned", "changed"])
def test_what_another_recipe_counts_on_stays_and_becomes_its_own(way, files, place, tmp_path):
    """As where a recipe is called otherwise: the new one finds all that the old one put there."""
    target = FolderTarget(kind="folder", path=place.name)
    for recipe in ("old", "new"):
        target.publish(Delivery(recipe, files, home="here"), tmp_path, force=False)
    assert set(receipt(place, "new")["borrowed"]) == set(files)
    (tmp_path / "own").write_text("own")
    target.publish(Delivery("old", {**files, "own": tmp_path / "own"}, home="here"), tmp_path, force=False)
    if way == "pruned":
        (orphan,) = target.orphans("here", {"new"}, tmp_path)
        assert (orphan.unchanged, orphan.changed) == (("own",), ())
        target.prune(orphan, tmp_path)
    else:
        put({"x": files["peft/config.json"]}, place, recipe="old")
    assert seen(place).items() >= {name: path.read_text() for name, path in files.items()}.items()
    assert "own" not in seen(place)
    assert set(receipt(place, "new")["files"]) == set(files)
    assert live(place, "new").drift == ()
    put({"mine.safetensors": files["mine.safetensors"]}, place, recipe="new")
    assert {*seen(place)} - {"x"} == {"mine.safetensors"}


def test_what_a_killed_run_counts_on_stays(files, place, tmp_path, monkeypatch):
    target = FolderTarget(kind="folder", path=place.name)
    for recipe in ("old", "new"):
        target.publish(Delivery(recipe, files, home="here"), tmp_path, force=False)
    (tmp_path / "own").write_text("own")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(folder_publication.FolderPublication, "_replace_entries", killed)
        with pytest.raises(KeyboardInterrupt):
            put({**files, "own": tmp_path / "own"}, place, recipe="new")
    (orphan,) = target.orphans("here", {"new"}, tmp_path)
    target.prune(orphan, tmp_path)
    assert seen(place) == {name: path.read_text() for name, path in files.items()}


@pytest.fixture
def borrowed(files, place):
    """A folder with a file of others that has the content that was to be published there."""
    place.mkdir()
    (place / "same").write_text("1")
    put({"same": files["mine.safetensors"], "x": files["peft/config.json"]}, place)
    return place


def test_a_file_of_others_with_the_same_content_is_watched(borrowed, files):
    assert receipt(borrowed)["borrowed"] == {"same": sha256_of(files["mine.safetensors"])}
    assert live(borrowed).drift == ()
    assert live(borrowed).names == {"same", "x"}
    (borrowed / "same").write_text("other")
    assert live(borrowed).drift == ("same was changed",)
    assert "same" in live(borrowed).refusal
    (borrowed / "same").unlink()
    assert live(borrowed).drift == ("same is missing",)
    assert live(borrowed).refusal == ""
    assert put({"same": files["mine.safetensors"], "x": files["peft/config.json"]}, borrowed).changed
    assert "borrowed" not in receipt(borrowed)
    assert seen(borrowed) == {"same": "1", "x": "2"}


def test_a_file_of_others_that_had_the_same_content_is_not_overwritten_without_force(borrowed, files):
    other = {"same": files["peft/model.safetensors"], "x": files["peft/config.json"]}
    with pytest.raises(PublishError, match="holds same, which this recipe did not put there"):
        put(other, borrowed)
    assert seen(borrowed) == {"same": "1", "x": "2"}
    assert put(other, borrowed, force=True).changed
    assert set(receipt(borrowed)["files"]) == {"same", "x"}


def test_what_would_be_refused_is_said_before(files, place):
    put(files, place)
    assert live(place).refusal == ""
    (place / "mine.safetensors").unlink()
    assert live(place).refusal == ""
    (place / "peft" / "notes.txt").write_text("theirs")
    assert live(place).refusal == (
        "it holds peft/notes.txt, which this recipe did not put there, or which was changed since; "
        "move it away, or overwrite it with --force"
    )
    (place / "peft" / "notes.txt").unlink()
    (place / "peft" / "config.json").write_text("by hand")
    assert "peft/config.json" in live(place).refusal


def test_another_run_publishes_while_it_is_looked_at(files, place, tmp_path, monkeypatch):
    put(files, place)
    (other := tmp_path / "other").write_text("another")
    look, looks = folder.published_in, []

    def published_in(at):
        if not looks:
            put({"mine.safetensors": other}, place)
        looks.append(at)
        return look(at)

    monkeypatch.setattr(folder, "published_in", published_in)
    found = live(place)
    assert (found.refusal, found.drift, found.names) == ("", (), {"mine.safetensors"})
    assert len(looks) == 2


def test_a_file_is_gone_while_it_is_looked_at(files, place, monkeypatch):
    put(files, place)
    look, looks = folder.published_in, []

    def published_in(at):
        found = look(at)
        if not looks:
            put({"mine.safetensors": files["mine.safetensors"]}, place)
        looks.append(at)
        return found

    monkeypatch.setattr(folder, "published_in", published_in)
    found = live(place)
    assert (found.refusal, found.drift, found.names) == ("", (), {"mine.safetensors"})
    assert len(looks) == 2


def test_links_and_empty_folders_are_kept(files, place, tmp_path):
    place.mkdir()
    (tmp_path / "big").mkdir()
    (place / "link").symlink_to(tmp_path / "big")
    (place / "empty").mkdir()
    put(files, place)
    assert (place / "link").is_symlink()
    assert (place / "empty").is_dir()


def test_the_artifact_is_no_target(files):
    folder = files["mine.safetensors"].parent
    with pytest.raises(PublishError, match="holds the artifact itself"):
        put(files, folder)


@pytest.mark.parametrize("path", ["~nosuchuser/x", "a\0b"])
def test_a_path_that_can_be_none_is_a_publishing_error(path, files, tmp_path):
    with pytest.raises(PublishError) as error:
        FolderTarget(kind="folder", path=path).publish(Delivery("mine", files), tmp_path, force=False)
    assert error.value.hint == "correct `path` in the recipe"


def test_a_path_that_can_not_be_written_is_a_publishing_error(files, place):
    place.write_text("a file")
    with pytest.raises(PublishError) as error:
        put(files, place)
    assert error.value.exit_code == 7


# --- what others do meanwhile


def meanwhile(monkeypatch, module, name, do):
    """Do something right after a function, the first time that it is called."""
    real, waiting = getattr(module, name), [do]

    def function(*arguments):
        answer = real(*arguments)
        if waiting:
            waiting.pop()()
        return answer

    monkeypatch.setattr(module, name, function)


@pytest.mark.parametrize("there", [True, False], ids=["there", "not there"])
def test_a_file_that_others_put_there_while_we_copy_is_kept(files, place, monkeypatch, there):
    if there:
        put({"old": files["mine.safetensors"]}, place)

    def download():
        place.mkdir(exist_ok=True)
        (place / "precious").write_text("theirs")

    meanwhile(monkeypatch, folder_publication, "_copy", download)
    put({"new": files["peft/config.json"]}, place)
    assert seen(place) == {"new": "2", "precious": "theirs"}


def test_a_file_of_the_same_name_that_others_put_there_while_we_copy_is_kept(files, place, monkeypatch):
    put({"old": files["mine.safetensors"]}, place)
    meanwhile(monkeypatch, folder_publication, "_copy", lambda: (place / "new").write_text("theirs"))
    with pytest.raises(PublishError, match="holds new, which this recipe did not put there"):
        put({"new": files["peft/config.json"]}, place)
    assert seen(place) == {"new": "theirs", "old": "1"}


@pytest.mark.parametrize("exchange", [True, False])
def test_a_file_that_others_put_there_at_the_last_moment_is_kept(files, place, monkeypatch, exchange):
    put({"old": files["mine.safetensors"]}, place)
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    real = atomic.Path.rename if not exchange else atomic._exchange
    waiting = [1]

    def step(one, other):
        if waiting:
            waiting.pop()
            (place / "precious").write_text("theirs")
        return real(one, other)

    monkeypatch.setattr(*((atomic, "_exchange") if exchange else (atomic.Path, "rename")), step)
    put({"new": files["peft/config.json"]}, place)
    assert seen(place) == {"new": "2", "precious": "theirs"}
    assert sorted(os.listdir(place.parent)) == ["artifact", "target"]  # noqa: PTH208  # hidden ones too


def test_a_file_that_others_put_into_our_own_folder_while_we_copy_is_kept(files, shared, monkeypatch):
    put(files, shared)
    theirs = shared / "peft" / "precious"
    meanwhile(monkeypatch, folder_publication, "_copy", lambda: theirs.write_text("theirs"))
    with pytest.raises(PublishError, match="peft was changed by somebody else while we published"):
        put({**files, "peft/config.json": files["mine.safetensors"]}, shared)
    assert theirs.read_text() == "theirs"
    assert seen(shared)["peft/config.json"] == "2"


def test_a_file_of_ours_that_is_edited_while_we_publish_is_kept(files, shared, monkeypatch):
    put({"a": files["mine.safetensors"], "b": files["mine.safetensors"]}, shared)
    edit = (shared / "b").write_text
    meanwhile(monkeypatch, folder_publication.shutil, "copyfileobj", lambda: edit("by hand"))
    with pytest.raises(PublishError, match="b was changed by somebody else"):
        put({"a": files["peft/config.json"], "b": files["peft/config.json"]}, shared)
    assert seen(shared) == {"a": "2", "b": "by hand", "theirs": "theirs"}
    (shared / "b").unlink()
    assert put({"a": files["peft/config.json"], "b": files["peft/config.json"]}, shared).changed
    assert seen(shared) == {"a": "2", "b": "2", "theirs": "theirs"}


# --- folders that can be written, but not replaced


@pytest.mark.parametrize("there", ["nothing", "ours"])
def test_where_something_is_mounted_the_folder_stays(files, place, monkeypatch, there):
    place.mkdir()
    if there == "ours":
        put({"old": files["mine.safetensors"]}, place)
    monkeypatch.setattr(atomic.Path, "is_mount", lambda path: path == place)
    folder = place.stat().st_ino
    assert put(files, place).changed
    assert not put(files, place).changed
    assert seen(place) == {"mine.safetensors": "1", "peft/config.json": "2", "peft/model.safetensors": "3"}
    assert place.stat().st_ino == folder


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("step", ["_exchange", "mkdtemp"])
def test_where_the_system_refuses_the_folder_stays(files, place, monkeypatch, code, step):
    put({"old": files["mine.safetensors"]}, place)

    def refuse(*_, dir=place.parent, **__):  # noqa: A002  # mkdtemp's own name
        if dir == place.parent:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.tempfile if step == "mkdtemp" else atomic, step, refuse)
    folder = place.stat().st_ino
    assert put({"new": files["peft/config.json"]}, place).changed
    assert seen(place) == {"new": "2"}
    assert place.stat().st_ino == folder


def test_where_the_folder_above_can_not_be_written_the_folder_stays(files, place, monkeypatch):
    put({"old": files["mine.safetensors"]}, place)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != place.parent and real(path, mode))
    folder = place.stat().st_ino
    put({"new": files["peft/config.json"]}, place)
    assert seen(place) == {"new": "2"}
    assert place.stat().st_ino == folder


# --- runs that were killed


@pytest.fixture
def shared(place):
    """A folder with a file of others: its entries are replaced one after the other."""
    place.mkdir()
    (place / "theirs").write_text("theirs")
    return place


class Killed(BaseException):
    """The process ends here."""


def killed(monkeypatch, files, place, renames):
    """Publish, and end after so many renames."""
    left = iter(range(renames))
    real = atomic.Path.replace

    def replace(path, target):
        if next(left, None) is None:
            raise Killed
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.Path, "replace", replace)
        with pytest.raises(Killed):
            put(files, place)


def receipt(place, recipe="mine"):
    return json.loads((place / ".loramerge" / f"{recipe}.json").read_text())


@pytest.mark.parametrize("renames", [1, 2])
def test_a_receipt_claims_nothing_that_is_not_there(files, shared, monkeypatch, renames):
    put({"a": files["mine.safetensors"], "b": files["mine.safetensors"]}, shared)
    killed(monkeypatch, {"a": files["peft/config.json"], "b": files["peft/config.json"]}, shared, renames)
    assert receipt(shared)["files"] == {}
    both = sorted(sha256_of(files[name]) for name in ("mine.safetensors", "peft/config.json"))
    assert receipt(shared)["replacing"] == {"a": both, "b": both}


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_after_a_killed_run_everything_of_ours_can_still_be_replaced(files, shared, monkeypatch, renames):
    put({"a": files["mine.safetensors"], "gone": files["mine.safetensors"]}, shared)
    killed(monkeypatch, {"a": files["peft/config.json"], "b": files["peft/config.json"]}, shared, renames)
    assert put({"a": files["peft/model.safetensors"], "b": files["peft/model.safetensors"]}, shared).changed
    assert seen(shared) == {"a": "3", "b": "3", "theirs": "theirs"}
    assert "replacing" not in receipt(shared)


def test_leftovers_of_a_killed_run_are_removed(files, shared):
    put(files, shared)
    for name in (".mine.safetensors.abcdefgh.partial", ".loramerge/.mine.json.abcdefgh.partial"):
        (shared / name).write_text("half")
    (shared / ".theirs.abcdefgh.partial").write_text("of another program")
    assert not put(files, shared).changed
    assert sorted(os.listdir(shared)) == [  # noqa: PTH208  # hidden ones too
        ".loramerge",
        ".theirs.abcdefgh.partial",
        "mine.safetensors",
        "peft",
        "theirs",
    ]
    assert os.listdir(shared / ".loramerge") == ["mine.json"]  # noqa: PTH208  # hidden ones too


def test_a_file_of_others_with_the_same_content_is_no_reason_to_write_again(files, shared):
    (files["mine.safetensors"].parent / "same").write_text("theirs")
    same = {"theirs": files["mine.safetensors"].parent / "same", "x": files["mine.safetensors"]}
    assert put(same, shared).changed
    assert not put(same, shared).changed


def test_folders_that_become_empty_go_away(files, shared):
    put(files, shared)
    put({"mine.safetensors": files["mine.safetensors"]}, shared)
    assert not (shared / "peft").exists()
