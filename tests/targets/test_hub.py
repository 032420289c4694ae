"""Publishing to a Hub, by the unpatched client, to one on loopback."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from edited_card import EDIT, marking, with_words
from hub.example import OWNER, STRANGER
from hub.faults import Meanwhile, NotAHub, Reset, Slow, Status, Truncated, WrongBytes

from loramerge.errors import PublishError
from loramerge.files.digest import files_of
from loramerge.targets import HubTarget
from loramerge.targets.target import Delivery

# huggingface_hub 2.4 uploads large files with an argument that httpx2 calls deprecated
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "tester/merged"
TEXTS = {"README.md": "---\nlicense: mit\n---\n# merged\n", "peft/unet/adapter_config.json": "{}\n"}
WEIGHTS = b"\0" * 5000 + b"weights"


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "artifact"
    for name, content in {**{name: text.encode() for name, text in TEXTS.items()}, "mine.safetensors": WEIGHTS}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return files_of(folder)


@pytest.fixture(autouse=True)
def waits(hub, monkeypatch):  # after `hub`, which waits for nobody either
    """Seconds that were waited for between tries; nobody waits here."""
    waited = []
    monkeypatch.setattr("loramerge.hub.retry.sleep", waited.append)
    monkeypatch.setenv("HF_TOKEN", OWNER)
    return waited


@pytest.fixture
def changed(files, tmp_path):
    """The same files, one with another content."""
    (tmp_path / "other").write_bytes(b"other")
    return {**files, "mine.safetensors": tmp_path / "other"}


def put(files, *, force=False, recipe="mine", definition=None, **settings):
    target = HubTarget(kind="hub", repo=REPO, **settings)
    return target.publish(Delivery(recipe, files, definition), Path("/nowhere"), force=force)


def repository(hub):
    return hub.store.repositories["model", REPO]


def at(hub, revision="main"):
    files = repository(hub).resolve(revision).files
    return {
        name: hub.store.large_files[blob.sha256] if blob.sha256 else blob.data
        for name, blob in files.items()
        if name != ".gitattributes" and not name.startswith(".loramerge/")
    }


def commits(hub):
    """Titles, newest first, of what came after the repository was made."""
    found, commit = [], repository(hub).commits[repository(hub).head]
    while commit.parent:
        found.append(commit.title)
        commit = repository(hub).commits[commit.parent]
    return found


def bytes_of(files):
    return {name: path.read_bytes() for name, path in files.items()}


def refused(files, **settings):
    with pytest.raises(PublishError) as caught:
        put(files, **settings)
    assert OWNER not in str(caught.value)
    assert STRANGER not in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 7
    return caught.value


# --- what is where afterwards


def test_a_new_repository_holds_the_files_in_one_commit(hub, files):
    receipt = put(files)
    assert receipt.changed
    assert receipt.commit == repository(hub).head
    assert receipt.url == f"{hub.url}/{REPO}/tree/main"
    assert at(hub) == bytes_of(files)
    assert commits(hub) == ["Publish mine"]
    assert not repository(hub).private


def test_publishing_again_makes_no_commit_and_sends_nothing(hub, files):
    head = put(files).commit
    hub.log.clear()
    again = put(files)
    assert (again.changed, again.commit) == (False, head)
    assert commits(hub) == ["Publish mine"]
    assert not [call for call in hub.log if "/commit/" in call.path or call.method == "PUT"]
    assert not [call for call in hub.log if "/resolve/" in call.path and "loramerge" not in call.path]


def test_only_what_differs_is_sent(hub, files, changed):
    put(files)
    hub.log.clear()
    assert put(changed).changed
    assert at(hub) == bytes_of(changed)
    assert len([call for call in hub.log if call.method == "PUT"]) == 1
    assert commits(hub) == ["Publish mine"] * 2


def test_what_is_no_longer_published_goes_away_and_nothing_else_does(hub, files):
    put(files)
    hub.store.write(repository(hub), {"theirs.txt": b"theirs"})
    del files["peft/unet/adapter_config.json"]
    assert put(files).changed
    assert at(hub) == bytes_of(files) | {"theirs.txt": b"theirs"}


def test_two_recipes_share_a_repository(hub, files, tmp_path):
    put(files)
    (tmp_path / "b").write_text("b")
    put({"b.txt": tmp_path / "b"}, recipe="other")
    assert not put(files).changed
    assert at(hub) == bytes_of(files) | {"b.txt": b"b"}


def test_what_another_recipe_took_by_force_is_the_other_s(hub, files, changed):
    put(files)
    put({"mine.safetensors": changed["mine.safetensors"]}, recipe="other", force=True)
    assert "mine.safetensors, which this recipe did not put there" in refused(files).message
    del files["mine.safetensors"]
    put(files)
    assert at(hub) == bytes_of(changed)


def test_a_file_edited_on_the_hub_is_mended(hub, files):
    put(files)
    hub.store.write(repository(hub), {"README.md": b"edited"})
    assert put(files).changed
    assert at(hub) == bytes_of(files)


def test_a_private_repository(hub, files):
    put(files, private=True)
    assert repository(hub).private
    assert not put(files, private=True).changed


def test_a_public_repository_is_not_taken_for_a_private_one(hub, files):
    hub.repository(REPO)
    assert "is public" in refused(files, private=True).message
    assert at(hub) == {}


def test_another_branch_is_made(hub, files):
    receipt = put(files, revision="next")
    assert at(hub, "next") == bytes_of(files)
    assert at(hub) == {}
    assert receipt.place == f"hf://{REPO}@next"
    assert not put(files, revision="next").changed


# --- files of others


def test_a_file_of_others_is_not_replaced_without_force(hub, files):
    hub.repository(REPO, {"mine.safetensors": b"theirs", "notes.txt": b"theirs"})
    error = refused(files)
    assert "mine.safetensors, which this recipe did not put there" in error.message
    assert "--force" in error.hint
    assert at(hub)["mine.safetensors"] == b"theirs"
    assert put(files, force=True).changed
    assert at(hub) == bytes_of(files) | {"notes.txt": b"theirs"}


def test_a_card_that_the_hub_made_is_replaced(hub, files):
    hub.repository(REPO, {"README.md": b"---\nlicense: mit\n---\n"})
    assert put(files).changed
    assert at(hub) == bytes_of(files)


def test_a_card_that_somebody_wrote_is_not(hub, files):
    hub.repository(REPO, {"README.md": b"---\nlicense: mit\n---\n# Mine\n"})
    assert "README.md" in refused(files).message


def test_a_damaged_receipt_claims_nothing(hub, files):
    hub.repository(REPO, {".loramerge/mine.json": b"[", "README.md": b"theirs"})
    assert "README.md" in refused(files).message


# --- tags


def test_a_tag_names_the_commit(hub, files):
    receipt = put(files, tag="v1")
    assert repository(hub).refs["refs/tags/v1"] == receipt.commit
    assert not put(files, tag="v1").changed


def test_a_tag_can_come_later(hub, files):
    head = put(files).commit
    assert put(files, tag="v1").changed
    assert repository(hub).refs["refs/tags/v1"] == head
    assert commits(hub) == ["Publish mine"]


def test_a_tag_on_the_same_files_stays_where_it_is(hub, files):
    tagged = put(files, tag="v1").commit
    hub.store.write(repository(hub), {"theirs.txt": b"theirs"})
    assert not put(files, tag="v1").changed
    assert repository(hub).refs["refs/tags/v1"] == tagged


def test_a_tag_on_other_files_is_moved_by_force_alone(hub, files, changed):
    tagged = put(files, tag="v1").commit
    error = refused(changed, tag="v1")
    assert f"tag v1 at {tagged[:8]}" in error.message
    assert commits(hub) == ["Publish mine"]
    receipt = put(changed, tag="v1", force=True)
    assert repository(hub).refs["refs/tags/v1"] == receipt.commit != tagged


def test_a_tag_on_the_same_definition_stays_where_it_is(hub, files, changed, tmp_path):
    tagged = put(files, tag="v1", definition={"recipe": 1}).commit
    assert put(changed, tag="v1", definition={"recipe": 1}).changed  # the same made again, to other bytes
    assert at(hub) == bytes_of(changed)
    assert repository(hub).refs["refs/tags/v1"] == tagged
    refused(changed, tag="v1", definition={"recipe": 2})
    signed = {**changed, "model.sig": tmp_path / "other"}
    refused(signed, tag="v1", definition={"recipe": 1})
    repository(hub).refs["refs/tags/v1"] = hub.store.write(repository(hub), {"README.md": b"by hand"})
    refused(changed, tag="v1", definition={"recipe": 1})


def test_a_tag_that_somebody_takes_meanwhile_is_noticed(hub, files):
    put(files)
    repo = repository(hub)
    take = Meanwhile(lambda: repo.refs.setdefault("refs/tags/v1", repo.commits[repo.head].parent))
    hub.inject("GET", "/tree/", take)
    assert "the tag v1 is at" in refused(files, tag="v1").message


# --- pull requests


def test_a_pull_request_leaves_the_branch_alone(hub, files):
    receipt = put(files, create_pr=True)
    assert receipt.changed
    assert receipt.url == f"{hub.url}/{REPO}/discussions/1"
    assert at(hub) == {}
    assert at(hub, "refs/pr/1") == bytes_of(files)


def test_the_same_pull_request_is_not_opened_twice(hub, files, changed):
    first = put(files, create_pr=True)
    again = put(files, create_pr=True)
    assert (again.changed, again.url, again.commit) == (False, first.url, first.commit)
    assert put(changed, create_pr=True).url == f"{hub.url}/{REPO}/discussions/2"


def test_a_pull_request_whose_answer_is_lost_is_not_opened_twice(hub, files):
    hub.inject("POST", "/commit/", Reset())
    receipt = put(files, create_pr=True)
    assert receipt.changed
    assert receipt.url == f"{hub.url}/{REPO}/discussions/1"
    assert len(repository(hub).pull_requests) == 1


def test_a_pull_request_where_everything_is_there_is_none(hub, files):
    put(files)
    assert not put(files, create_pr=True).changed
    assert repository(hub).pull_requests == []


def test_a_pull_request_to_no_branch(hub, files):
    assert "no branch next" in refused(files, create_pr=True, revision="next").message


# --- the owner's part of the model card


@pytest.fixture
def marked(files):
    """Files with a card of ours, and how to write another one."""

    return marking(files)


def edited(hub):
    card = with_words(at(hub)["README.md"])
    hub.store.write(repository(hub), {"README.md": card.encode()})
    return card


def live():
    return HubTarget(kind="hub", repo=REPO, tag="v1").live("mine", Path("/nowhere"))


def test_what_the_owner_wrote_into_the_card_is_no_drift(hub, files, marked):
    put(files, tag="v1")
    card = edited(hub)
    assert live().drift == ()
    assert not put(files).changed
    assert at(hub)["README.md"].decode() == card


def test_what_the_owner_wrote_into_the_card_survives_the_next_one(hub, files, marked):
    put(files)
    edited(hub)
    marked("# merged anew")
    assert put(files).changed
    card = at(hub)["README.md"].decode()
    assert "language: en\n" in card
    assert "# merged anew" in card
    assert card.endswith(EDIT)
    assert not put(files).changed
    assert live().drift == ()


def test_our_part_of_the_card_is_mended_and_the_owner_s_stays(hub, files, marked):
    put(files)
    card = edited(hub).replace("# merged", "# taken")
    hub.store.write(repository(hub), {"README.md": card.encode()})
    assert live().drift == ("README.md was changed",)
    assert put(files).changed
    mended = at(hub)["README.md"].decode()
    assert mended.partition("\n---\n")[2] == card.replace("# taken", "# merged").partition("\n---\n")[2]
    assert "language: en\n" in mended


def test_words_that_the_owner_writes_while_we_publish_survive(hub, files, marked):
    put(files)
    marked("# merged anew")
    hub.inject("GET", "/tree/", Meanwhile(lambda: edited(hub)))
    assert put(files).changed
    card = at(hub)["README.md"].decode()
    assert "# merged anew" in card
    assert card.endswith(EDIT)


# --- races


def test_a_commit_elsewhere_meanwhile_is_kept(hub, files, changed):
    put(files)
    repo = repository(hub)
    hub.inject("GET", "/tree/", Meanwhile(lambda: hub.store.write(repo, {"theirs.txt": b"theirs"})))
    assert put(changed).changed
    assert at(hub) == bytes_of(changed) | {"theirs.txt": b"theirs"}
    assert commits(hub) == ["Publish mine", "write", "Publish mine"]


def test_a_commit_to_our_file_meanwhile_is_shown(hub, files, changed):
    put(files)
    repo = repository(hub)
    hub.inject("GET", "/tree/", Meanwhile(lambda: hub.store.write(repo, {"README.md": b"theirs"})))
    error = refused(changed)
    assert "README.md" in error.message
    assert f"'write' by tester ({repo.head[:8]})" in error.message
    assert at(hub)["README.md"] == b"theirs"
    assert put(changed).changed


def test_others_who_never_stop(hub, files):
    put(files)
    repo = repository(hub)
    numbers = iter(range(99))
    move = Meanwhile(lambda: hub.store.write(repo, {"theirs.txt": b"%d" % next(numbers)}))
    hub.inject("GET", "/tree/", move, times=99)
    del files["README.md"]
    assert "all the time" in refused(files).message


# --- faults


@pytest.mark.parametrize("fault", [Status(500), Status(503), Status(429), Status(502, acts=True), Reset()], ids=repr)
def test_a_commit_that_fails_once_is_tried_again(hub, files, waits, fault):
    hub.repository(REPO)
    hub.inject("POST", "/commit/", fault)
    assert put(files).changed
    assert at(hub) == bytes_of(files)
    assert commits(hub) == ["Publish mine"]
    assert waits == [1.0]
    assert len([call for call in hub.log if call.method == "PUT"]) == 1


@pytest.mark.parametrize("fault", [Truncated(), WrongBytes()], ids=repr)
def test_an_answer_to_a_commit_that_is_no_answer(hub, files, waits, fault):
    hub.repository(REPO)
    hub.inject("POST", "/commit/", fault)
    with suppress(PublishError):
        assert put(files).changed
    # done as a whole, and known to be so by whoever runs again
    assert at(hub) == bytes_of(files)
    assert commits(hub) == ["Publish mine"]
    assert not put(files).changed


@pytest.mark.parametrize("fault", [Status(416), Truncated(), WrongBytes()], ids=repr)
def test_an_upload_that_goes_wrong_for_good_publishes_nothing(hub, files, waits, fault, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.repository(REPO)
    head = repository(hub).head
    hub.inject("POST", "/info/lfs/objects/batch", fault, times=99)
    refused(files)
    assert repository(hub).head == head
    hub.mend()
    assert put(files).changed
    assert at(hub) == bytes_of(files)


@pytest.mark.parametrize("header", [{"Retry-After": "30"}, {"RateLimit": '"api";r=0;t=30'}])
def test_the_hub_says_how_long_to_wait(hub, files, waits, header):
    hub.inject("POST", "/commit/", Status(429, header))
    put(files)
    assert waits == [30.0]


def test_nobody_waits_for_an_hour(hub, files, waits):
    hub.inject("POST", "/commit/", Status(429, {"Retry-After": "3600"}))
    assert "rate limit" in refused(files).message
    assert waits == []


def test_a_hub_that_keeps_failing(hub, files, waits):
    put(files)
    before = repository(hub).head
    del files["README.md"]
    hub.inject("POST", "/commit/", Status(503), times=99)
    assert "the Hub failed (503)" in refused(files).message
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert repository(hub).head == before


@pytest.mark.parametrize("fault", [Status(500), Reset()], ids=repr)
def test_an_upload_that_breaks_off_is_finished_without_sending_twice_what_arrived(
    hub, files, tmp_path, fault, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    (tmp_path / "second").write_bytes(b"\0second")
    files["second.safetensors"] = tmp_path / "second"
    hub.inject("PUT", "/_upload/", fault, times=7)  # more than the client itself repeats
    put(files)
    assert at(hub) == bytes_of(files)
    put_paths = [call.path for call in hub.log if call.method == "PUT"]
    assert len(put_paths) <= 7 + 2


def test_a_slow_hub_is_waited_for(hub, files):
    hub.inject("POST", "/commit/", Slow(0.5))
    assert put(files).changed


def test_nobody_there(hub, files, waits):
    hub.stop()
    error = refused(files)
    assert "can't reach the Hub" in error.message
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_offline(hub, files, waits, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "offline" in refused(files).message
    assert waits == []


def test_no_token(hub, files, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    error = refused(files)
    assert "token" in error.message
    assert "hf auth login" in error.hint
    assert "HF_TOKEN" in error.hint


def test_a_wrong_token(hub, files, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    error = refused(files)
    assert "hf_wrong" not in str(error)
    assert "write permission" in error.hint


def test_a_repository_of_somebody_else(hub, files, monkeypatch):
    hub.repository(REPO)
    monkeypatch.setenv("HF_TOKEN", STRANGER)
    error = refused(files)
    assert f"forbids writing to {REPO}" in error.message
    assert "check the owner" in error.hint


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Status(401), "got no token"),
        (Status(403), "forbids writing"),
        (Status(404, {"X-Error-Code": "RepoNotFound"}), "does not exist, or you may not see it"),
        (Status(403, {"X-Error-Code": "GatedRepo"}), "is gated"),
        (Status(416), "refuses the request"),
        (Status(418), "refuses the request"),
        (NotAHub(), "did not answer as a Hub does"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("call", [("GET", "/refs"), ("POST", "/commit/")], ids=str)
def test_refusals_are_told_in_plain_words(hub, files, waits, call, fault, message):
    hub.inject(*call, fault)
    error = refused(files)
    assert message in error.message
    assert f"hf://{REPO}" in error.message
    assert waits == []
    assert at(hub) == {}


def test_what_a_gitignore_leaves_out_is_noticed(hub, files):
    hub.repository(REPO, {".gitignore": b"*.json\n"})
    error = refused(files)
    assert "peft/unet/adapter_config.json" in error.message
    assert ".gitignore" in error.hint


def test_an_artifact_that_vanished(hub, files):
    files["README.md"].unlink()
    assert "README.md" in refused(files).message


def test_the_receipt_names_files_and_digests(hub, files):
    put(files)
    receipt = json.loads(repository(hub).resolve("main").files[".loramerge/mine.json"].data)
    assert receipt["recipe"] == "mine"
    assert set(receipt["files"]) == set(files)


def test_what_somebody_changes_before_it_is_pruned_stays(hub, files):
    target = HubTarget(kind="hub", repo=REPO)
    target.publish(Delivery("gone", files, None, home="here"), Path("/nowhere"), force=False)
    (orphan,) = target.orphans("here", [], Path("/nowhere"))
    assert set(orphan.unchanged) == set(files)
    hub.store.write(repository(hub), {"peft/unet/adapter_config.json": b"somebody's own"})
    target.prune(orphan, Path("/nowhere"))
    assert at(hub) == {"peft/unet/adapter_config.json": b"somebody's own"}
    assert target.orphans("here", [], Path("/nowhere")) == ()
    before = commits(hub)
    target.prune(orphan, Path("/nowhere"))
    assert commits(hub) == before
