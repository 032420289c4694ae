"""Publishing to an S3 storage, by the unpatched libraries, to moto's server on loopback."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from edited_card import EDIT, marking, with_words
from hub.faults import Harmless, Meanwhile, NotAHub, Reset, Slow, Status, WrongBytes
from hub.http import Answer
from pydantic import ValidationError
from storage.server import KEY, SECRET, Refusal

from loramerge.errors import PublishError
from loramerge.files.digest import files_of, sha256_of
from loramerge.targets import S3Target
from loramerge.targets.record import Record
from loramerge.targets.target import Delivery

pytestmark = pytest.mark.slow

URL = "s3://loras/merged"
TEXTS = {"README.md": "---\nlicense: mit\n---\n# merged\n", "peft/unet/adapter_config.json": "{}\n"}
WEIGHTS = b"\0" * 5000 + b"weights"
RECORD = ".loramerge/mine.json"


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "artifact"
    for name, content in {**{name: text.encode() for name, text in TEXTS.items()}, "mine.safetensors": WEIGHTS}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return files_of(folder)


@pytest.fixture
def changed(files, tmp_path):
    """The same files, one with another content."""
    (tmp_path / "other").write_bytes(b"other")
    return {**files, "mine.safetensors": tmp_path / "other"}


@pytest.fixture
def bucket(storage):
    storage.bucket("loras")
    return storage


@dataclass(frozen=True)
class Lost(Harmless):
    """The storage does it, and its answer is lost."""

    def spoil(self, _answer):
        return Answer(503, b"<Error><Code>SlowDown</Code></Error>", {"Content-Type": "application/xml"})


@dataclass(frozen=True)
class Broken(Reset):
    """The connection ends before anything was done."""

    acts: bool = False

    def spoil(self, _answer):
        return Answer(200, b"<Error></Error>")


def put(files, *, force=False, recipe="mine", url=URL, home="", definition=None):
    delivery = Delivery(recipe, files, definition, home=home)
    return S3Target(kind="s3", url=url).publish(delivery, Path("/nowhere"), force=force)


def live(claims=(), recipe="mine"):
    return S3Target(kind="s3", url=URL).live(recipe, Path("/nowhere"), claims)


def at(storage):
    """What lies below the prefix, without the records."""
    found = {key.removeprefix("merged/"): data for key, data in storage.objects("loras", "merged/").items()}
    return {name: data for name, data in found.items() if not name.startswith(".loramerge/")}


def record_of(storage, recipe="mine"):
    return Record.parse(storage.objects("loras")[f"merged/.loramerge/{recipe}.json"].decode())


def bytes_of(files):
    return {name: path.read_bytes() for name, path in files.items()}


def writes(storage):
    return [f"{call.method} {call.path}" for call in storage.log if call.method not in {"GET", "HEAD"}]


def refused(files, **settings):
    with pytest.raises(PublishError) as caught:
        put(files, **settings)
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 7
    return caught.value


# --- what is where afterwards


def test_the_objects_are_there_and_the_record_is_written_first_and_last(bucket, files):
    receipt = put(files, definition={"recipe": 1})
    assert (receipt.changed, receipt.place, receipt.url) == (True, URL, URL)
    assert at(bucket) == bytes_of(files)
    known = record_of(bucket)
    assert known.files == {name: sha256_of(path) for name, path in files.items()}
    assert known.blobs.keys() == files.keys()
    assert (known.definition, known.replacing) == ({"recipe": 1}, {})
    order = [f"PUT /loras/merged/{name}" for name in (RECORD, *sorted(files), RECORD)]
    assert writes(bucket) == order


def test_objects_say_their_digest_and_what_they_are(bucket, files):
    put(files)
    said = bucket.client.head_object(Bucket="loras", Key="merged/README.md", ChecksumMode="ENABLED")
    assert said["Metadata"]["loramerge-sha256"] == sha256_of(files["README.md"])
    assert said["ContentType"] == "text/markdown; charset=utf-8"
    assert said["ChecksumSHA256"]


def test_publishing_again_is_one_listing_and_writes_nothing(bucket, files):
    put(files)
    bucket.log.clear()
    assert not put(files).changed
    assert [call.method for call in bucket.log] == ["GET", "GET"]
    assert "list-type=2" in bucket.log[0].path
    assert bucket.log[1].path.endswith("mine.json")


def test_another_definition_of_the_same_files_is_remembered(bucket, files):
    put(files, definition={"recipe": 1})
    bucket.log.clear()
    assert not put(files, definition={"recipe": 2}).changed
    assert writes(bucket) == [f"PUT /loras/merged/{RECORD}"]
    assert live().definition == {"recipe": 2}


def test_only_what_differs_is_sent(bucket, files, changed):
    put(files)
    bucket.log.clear()
    assert put(changed).changed
    assert at(bucket) == bytes_of(changed)
    assert writes(bucket)[1:-1] == ["PUT /loras/merged/mine.safetensors"]


def test_what_is_no_longer_published_goes_away_and_nothing_else_does(bucket, files):
    put(files)
    bucket.put("loras", "merged/theirs.txt", b"theirs")
    bucket.put("loras", "merged2/mine.safetensors", b"theirs")
    del files["peft/unet/adapter_config.json"]
    assert put(files).changed
    assert at(bucket) == bytes_of(files) | {"theirs.txt": b"theirs"}
    assert bucket.objects("loras", "merged2/")


def test_the_bucket_itself(bucket, files):
    put(files, url="s3://loras")
    assert bucket.objects("loras").keys() == {*files, RECORD}


def test_large_files_go_in_parts(bucket, files, monkeypatch, tmp_path):
    monkeypatch.setattr("loramerge.storage.transfer._PIECE", 6 << 20)
    (tmp_path / "large").write_bytes(bytes(range(256)) * (13 << 12))
    files["mine.safetensors"] = tmp_path / "large"
    put(files)
    assert at(bucket) == bytes_of(files)
    assert bucket.uploads("loras") == []
    assert not put(files).changed
    bucket.log.clear()
    bucket.put("loras", f"merged/{RECORD}", b"[")  # a record that was lost is written anew: objects say what they are
    assert put(files).changed is False
    assert not [each for each in writes(bucket) if RECORD not in each]


def test_an_empty_file(bucket, files, tmp_path):
    (tmp_path / "empty").touch()
    files["empty.txt"] = tmp_path / "empty"
    put(files)
    assert at(bucket)["empty.txt"] == b""
    assert not put(files).changed


def test_two_recipes_share_a_prefix(bucket, files, tmp_path):
    put(files)
    (tmp_path / "b").write_text("b")
    put({"b.txt": tmp_path / "b"}, recipe="other")
    assert not put(files).changed
    assert at(bucket) == bytes_of(files) | {"b.txt": b"b"}


# --- files of others, and drift


def test_a_file_of_others_is_not_replaced_without_force(bucket, files):
    bucket.put("loras", "merged/mine.safetensors", b"theirs")
    bucket.put("loras", "merged/notes.txt", b"theirs")
    error = refused(files)
    assert "mine.safetensors, which this recipe did not put there" in error.message
    assert "--force" in error.hint
    assert at(bucket) == {"mine.safetensors": b"theirs", "notes.txt": b"theirs"}
    assert put(files, force=True).changed
    assert at(bucket) == bytes_of(files) | {"notes.txt": b"theirs"}


def test_a_file_of_others_with_the_same_content_stays_theirs(bucket, files):
    bucket.put("loras", "merged/mine.safetensors", WEIGHTS)
    assert put(files).changed
    assert record_of(bucket).borrowed == {"mine.safetensors": hashlib.sha256(WEIGHTS).hexdigest()}
    assert not put(files).changed
    assert live().drift == ()
    del files["mine.safetensors"]
    put(files)
    assert at(bucket)["mine.safetensors"] == WEIGHTS


def test_drift_is_named_and_replaced_by_force_alone(bucket, files):
    put(files)
    assert live().drift == ()
    bucket.put("loras", "merged/mine.safetensors", b"edited")
    bucket.remove("loras", "merged/README.md")
    found = live()
    assert found.drift == ("README.md is missing", "mine.safetensors was changed")
    assert "mine.safetensors, which was changed since" in found.refusal
    refused(files)
    assert at(bucket)["mine.safetensors"] == b"edited"
    put(files, force=True)
    assert at(bucket) == bytes_of(files)
    assert (live().drift, live().refusal) == ((), "")


def test_what_is_only_missing_is_mended(bucket, files):
    put(files)
    bucket.remove("loras", "merged/mine.safetensors")
    assert live().refusal == ""
    assert put(files).changed
    assert at(bucket) == bytes_of(files)


def test_a_file_that_was_copied_over_itself_is_no_drift(bucket, files):
    put(files)
    bucket.client.copy_object(
        Bucket="loras",
        Key="merged/mine.safetensors",
        CopySource="loras/merged/mine.safetensors",
        StorageClass="STANDARD_IA",
    )
    assert live().drift == ()
    assert not put(files).changed


def test_files_of_others_are_known_before_anything_is_made(bucket, files):
    bucket.put("loras", "merged/mine.safetensors", b"theirs")
    bucket.put("loras", "merged/notes.txt", b"theirs")
    found = live({"mine.safetensors", "peft"})
    assert not found.published
    assert {name: sha256() for name, sha256 in found.foreign.items()} == {
        "mine.safetensors": hashlib.sha256(b"theirs").hexdigest()
    }


def test_a_damaged_record_claims_nothing(bucket, files):
    bucket.put("loras", f"merged/{RECORD}", b"[")
    bucket.put("loras", "merged/README.md", b"theirs")
    assert "README.md" in refused(files).message


# --- the owner's part of the model card


@pytest.fixture
def marked(files):
    """Files with a card of ours, and how to write another one."""

    return marking(files)


def edited(storage):
    card = with_words(at(storage)["README.md"])
    storage.put("loras", "merged/README.md", card.encode())
    return card


def test_what_the_owner_wrote_into_the_card_is_no_drift_and_survives(bucket, files, marked):
    put(files)
    card = edited(bucket)
    assert live().drift == ()
    assert not put(files).changed
    assert at(bucket)["README.md"].decode() == card
    marked("# merged anew")
    assert put(files).changed
    card = at(bucket)["README.md"].decode()
    assert "language: en\n" in card
    assert "# merged anew" in card
    assert card.endswith(EDIT)
    assert not put(files).changed
    assert live().drift == ()


def test_our_part_of_the_card_belongs_to_us(bucket, files, marked):
    put(files)
    bucket.put("loras", "merged/README.md", edited(bucket).replace("# merged", "# taken").encode())
    assert live().drift == ("README.md was changed",)


# --- recipes that are gone


def test_what_recipes_left_that_are_gone(bucket, files, tmp_path, marked):
    put(files, home="here")
    (tmp_path / "b").write_text("b")
    put({"b.txt": tmp_path / "b"}, recipe="other", home="here")
    put({"c.txt": tmp_path / "b"}, recipe="third", home="elsewhere")
    bucket.put("loras", "merged/mine.safetensors", b"edited")
    edited(bucket)
    target = S3Target(kind="s3", url=URL)
    (orphan,) = target.orphans("here", {"other"}, Path())
    assert (orphan.place, orphan.recipe) == (URL, "mine")
    assert orphan.unchanged == ("peft/unet/adapter_config.json",)
    assert orphan.changed == ("README.md", "mine.safetensors")
    target.prune(orphan, Path())
    assert at(bucket).keys() == {"README.md", "mine.safetensors", "b.txt", "c.txt"}
    assert target.orphans("here", {"other"}, Path()) == ()


@pytest.mark.parametrize("way", ["pruned", "changed"])
def test_what_another_recipe_counts_on_stays_and_becomes_its_own(way, bucket, files, tmp_path):
    put(files, recipe="old", home="here")
    put(files, recipe="new", home="here")
    (tmp_path / "own").write_text("own")
    put({**files, "own": tmp_path / "own"}, recipe="old", home="here")
    target = S3Target(kind="s3", url=URL)
    if way == "pruned":
        (orphan,) = target.orphans("here", {"new"}, Path())
        assert (orphan.unchanged, orphan.changed) == (("own",), ())
        target.prune(orphan, Path())
    else:
        put({"x": tmp_path / "own"}, recipe="old", home="here")
    assert at(bucket).items() >= bytes_of(files).items()
    assert "own" not in at(bucket)
    assert set(record_of(bucket, "new").files) == set(files)
    assert live(recipe="new").drift == ()
    assert not put(files, recipe="new", home="here").changed
    put({"mine.safetensors": files["mine.safetensors"]}, recipe="new")
    assert {*at(bucket)} - {"x"} == {"mine.safetensors"}


# --- killed, and raced


@pytest.mark.parametrize("moment", ["README.md", "mine.safetensors"])
def test_a_run_that_is_killed_is_seen_and_mended(bucket, files, tmp_path, moment):
    put(files)
    artifact = tmp_path / "second"
    shutil.copytree(tmp_path / "artifact", artifact)
    for name in ("README.md", "mine.safetensors"):
        (artifact / name).write_bytes(b"second")
    running = subprocess.Popen([sys.executable, Path(__file__).parents[1] / "storage" / "put.py", URL, artifact])
    bucket.inject("PUT", f"merged/{moment}", Meanwhile(running.kill))
    assert running.wait(60) < 0
    assert "a run that published there was killed" in live().drift
    assert live().definition is None
    before = {name: at(bucket)[name] for name in files}
    assert before[moment] == b"second"
    if moment == "README.md":
        assert before["mine.safetensors"] == WEIGHTS  # half of each, and the record says so
    assert live().refusal == ""
    assert put(files_of(artifact)).changed
    assert at(bucket) == bytes_of(files_of(artifact))
    assert live().drift == ()


def test_what_somebody_wrote_after_a_run_was_killed_is_kept(bucket, files, changed):
    put(files)
    bucket.inject("PUT", "mine.safetensors", Refusal("InternalError", 500))
    refused(changed)
    bucket.put("loras", "merged/mine.safetensors", b"theirs")
    assert "mine.safetensors" in refused(changed).message
    assert at(bucket)["mine.safetensors"] == b"theirs"


def test_two_runs_at_once_where_one_was_quicker_to_the_record(bucket, files, changed):
    put(files)
    bucket.inject("GET", "mine.json", Meanwhile(lambda: put(changed)))
    (files["peft/unet/adapter_config.json"]).write_text("[]")
    error = refused(files)
    assert "was changed by somebody else at the same time" in error.message
    assert error.hint == "look at it, and run again"
    assert at(bucket)["mine.safetensors"] == b"other"
    assert live().drift == ()


def test_an_object_that_comes_in_between_is_kept(bucket, files):
    bucket.inject("PUT", "mine.json", Meanwhile(lambda: bucket.put("loras", "merged/mine.safetensors", b"theirs")))
    error = refused(files)
    assert "mine.safetensors" in error.message
    assert at(bucket)["mine.safetensors"] == b"theirs"
    assert "a run that published there was killed" in live().drift


def test_an_object_that_is_changed_before_it_is_removed_is_kept(bucket, files):
    put(files)
    name = "peft/unet/adapter_config.json"
    del files[name]
    bucket.inject("PUT", "mine.json", Meanwhile(lambda: bucket.put("loras", f"merged/{name}", b"theirs")))
    assert name in refused(files).message
    assert at(bucket)[name] == b"theirs"


def test_our_own_write_whose_answer_was_lost_is_no_race(bucket, files, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    bucket.inject("PUT", "mine.safetensors", Lost())
    assert put(files).changed
    assert at(bucket) == bytes_of(files)


def test_a_storage_without_conditions(bucket, files, changed):
    put(files)
    for pattern in ("mine.json", "mine.safetensors"):
        bucket.inject("PUT", pattern, Refusal("NotImplemented", 501))
    assert put(changed).changed
    assert at(bucket) == bytes_of(changed)


# --- what goes wrong


@pytest.mark.parametrize("fault", [Status(500), Broken(), Refusal("InternalError", 500)], ids=repr)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_upload_in_parts_that_breaks_off_leaves_nothing(bucket, files, monkeypatch, tmp_path, fault, method):
    monkeypatch.setattr("loramerge.storage.transfer._PIECE", 6 << 20)
    (tmp_path / "large").write_bytes(bytes(13 << 20))
    files["mine.safetensors"] = tmp_path / "large"
    bucket.inject(method, "uploadId", fault)
    refused(files)
    assert "mine.safetensors" not in at(bucket)
    assert bucket.uploads("loras") == []
    assert put(files).changed
    assert at(bucket) == bytes_of(files)


def test_parts_that_a_killed_run_left_are_given_up(bucket, files):
    bucket.inject("PUT", "README.md", Refusal("InternalError", 500))
    refused(files)
    for key in ("merged/mine.safetensors", "merged/theirs.bin"):
        bucket.client.create_multipart_upload(Bucket="loras", Key=key)
    put(files)
    assert bucket.uploads("loras") == ["merged/theirs.bin"]


def test_bytes_that_change_on_the_way_are_found_out(bucket, files):
    bucket.damages = "mine.safetensors"
    error = refused(files)
    bucket.damages = ""
    assert "what arrived is not what was sent" in error.message
    assert "a run that published there was killed" in live().drift
    put(files, force=True)
    assert at(bucket) == bytes_of(files)


def test_a_file_that_changes_while_it_is_published(bucket, files):
    bucket.inject("PUT", "mine.json", Meanwhile(lambda: files["mine.safetensors"].write_bytes(b"changed")))
    assert "mine.safetensors was changed while it was published" in refused(files).message
    assert "mine.safetensors" not in at(bucket)


def test_no_bucket(storage, files):
    error = refused(files)
    assert "there is no bucket loras" in error.message
    assert "a bucket is never made" in error.hint
    with pytest.raises(PublishError, match="there is no bucket loras"):
        live()


def test_nobody_publishes_without_credentials(bucket, files, monkeypatch):
    bucket.client.put_bucket_acl(Bucket="loras", ACL="public-read-write")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert not live().published
    assert "there are no credentials" in refused(files).message
    assert at(bucket) == {}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Status(403), "forbids writing to loras"),
        (Refusal("AccessDenied", 403), "forbids writing to loras"),
        (Refusal("ExpiredToken", 400), "have expired"),
        (Refusal("RequestTimeTooSkewed", 403), "clock"),
        (Refusal("BadDigest", 400), "what arrived is not what was sent"),
        (Refusal("QuotaExceeded", 507), "is full"),
        (Refusal("SlowDown", 503), "busy"),
        (NotAHub(), "no S3 storage"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ["mine.json", "README.md"])
def test_refusals_are_told_in_plain_words(bucket, files, fault, message, name):
    bucket.inject("PUT", name, fault)
    error = refused(files)
    assert message in error.message
    assert error.message.startswith(URL)
    assert at(bucket) == {}


def test_a_storage_that_does_not_answer(bucket, files, monkeypatch):
    monkeypatch.setattr("loramerge.storage.client._SILENT", 0.3)
    bucket.inject("PUT", "README.md", Slow(1))
    assert "did not answer in time" in refused(files).message


def test_a_record_that_arrives_with_wrong_bytes_is_asked_for_again(bucket, files):
    put(files)
    bucket.inject("GET", "mine.json", WrongBytes())
    assert live().published
    bucket.inject("GET", "mine.json", WrongBytes(), times=9)
    assert "what arrived is not what was sent" in refused(files).message


def test_nobody_there(bucket, files):
    bucket.stop()
    assert f"can't reach the storage at {bucket.url}" in refused(files).message


def test_an_artifact_that_vanished(bucket, files):
    files["README.md"].unlink()
    assert "README.md" in refused(files).message


# --- what it is called


def test_what_a_target_says_of_itself():
    target = S3Target(kind="s3", url="s3://loras/merged/")
    assert target.reference == target.address(Path()) == URL
    assert target.own_place("mine") == "url: s3://loras/merged/mine"
    assert target.spelling == "s3://loras/merged/"
    assert target.place("kohya", ["kohya"]) is None
    assert not S3Target(kind="s3", url=URL, outputs=["kohya"]).takes_papers


@pytest.mark.parametrize("url", ["s3://", "s3://a/b//c", "s3://Loras", f"s3://{KEY}:{SECRET}@loras/a", "loras/a"])
def test_addresses_that_are_none(url):
    with pytest.raises(ValidationError) as caught:
        S3Target(kind="s3", url=url)
    said = json.dumps([each["msg"] for each in caught.value.errors()])
    assert SECRET not in said
