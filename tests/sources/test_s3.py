"""Objects of an S3 storage as sources, by the unpatched libraries, from moto's server on loopback."""

import hashlib
import os
from pathlib import Path

import pytest
from hub.example import FILES, SHA256, WEIGHTS
from hub.faults import NotAHub, Reset, Slow, Status, Truncated, WrongBytes
from storage.server import KEY, SECRET, Refusal

from loramerge.errors import SourceError
from loramerge.files.cache import cache_folder
from loramerge.files.digest import FileDigest
from loramerge.sources import parse

pytestmark = pytest.mark.slow

FILE = "s3://loras/ikea/ikea.safetensors"


def source(reference=FILE, **extra):
    return parse(reference, folder=Path("/nowhere"), **extra)


def locate(reference=FILE, **extra):
    return source(reference, **extra).locate()


def read(located, name="ikea.safetensors"):
    return (located.fetch([name]) / name).read_bytes()


@pytest.fixture
def loras(storage, tmp_path, monkeypatch):
    """A bucket with a folder, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    storage.bucket("loras", {f"ikea/{name}": data for name, data in FILES.items()})
    storage.log.clear()
    return storage


def gets(storage, name="ikea.safetensors"):
    return [call for call in storage.log if call.method == "GET" and f"/{name}" in call.path]


def refused(call=locate, *arguments, **extra):
    with pytest.raises(SourceError) as raised:
        call(*arguments, **extra)
    assert SECRET not in str(raised.value)
    assert KEY not in str(raised.value)
    assert raised.value.hint
    return raised.value


# --- what is there


def test_locating_a_file_is_one_question(loras):
    located = locate()
    assert (located.revision, located.files, located.hidden) == (None, ("ikea.safetensors",), ())
    assert [str(call) for call in loras.log] == ["HEAD /loras/ikea/ikea.safetensors"]


@pytest.mark.parametrize("reference", ["s3://loras/ikea", "s3://loras/ikea/"])
def test_locating_a_folder_downloads_nothing(loras, reference):
    assert locate(reference).files == tuple(sorted(FILES))
    assert not gets(loras)


def test_a_bucket_is_a_folder_as_well(loras):
    assert locate("s3://loras").files == tuple(f"ikea/{name}" for name in sorted(FILES))


def test_a_name_that_begins_as_another_is_no_folder(loras):
    loras.put("loras", "ikea-2/other.json", b"{}")
    assert locate("s3://loras/ikea").files == tuple(sorted(FILES))
    assert "ikea" in refused(locate, "s3://loras/ike").hint


def test_what_stands_for_a_folder_and_hidden_files_are_left_out(loras):
    for key in ("ikea/", "ikea/unet/", "ikea/.hidden", "ikea/.git/config"):
        loras.put("loras", key, b"")
    located = locate("s3://loras/ikea")
    assert located.files == tuple(sorted(FILES))
    assert located.hidden == (".git/config", ".hidden")


def test_many_objects_are_listed_page_by_page(loras, monkeypatch):
    from s3fs import S3FileSystem

    original = S3FileSystem._get_s3_method_kwargs

    def few(self, method, *given, **named):
        found = original(self, method, *given, **named)
        return {**found, "MaxKeys": 1} if method.__name__ == "list_objects_v2" else found

    monkeypatch.setattr(S3FileSystem, "_get_s3_method_kwargs", few)
    assert locate("s3://loras/ikea").files == tuple(sorted(FILES))


def test_fetching_what_is_named_and_nothing_else(loras):
    located = locate("s3://loras/ikea")
    folder = located.fetch(["unet/config.json", "ikea.safetensors"])
    assert (folder / "unet/config.json").read_bytes() == FILES["unet/config.json"]
    assert (folder / "ikea.safetensors").read_bytes() == WEIGHTS
    assert not (folder / "vae").exists()


def test_large_files_come_in_pieces_that_are_put_together_in_order(loras, monkeypatch):
    monkeypatch.setattr("loramerge.storage.transfer._PIECE", 100_000)
    assert read(locate()) == WEIGHTS
    assert len(gets(loras)) == -(-len(WEIGHTS) // 100_000)


def test_an_empty_object_in_a_folder_is_an_empty_file(loras):
    loras.put("loras", "ikea/empty.txt", b"")
    located = locate("s3://loras/ikea")
    assert read(located, "empty.txt") == b""
    assert "the file is empty" in refused(locate, "s3://loras/ikea/empty.txt").message


def test_odd_names_that_files_can_have(loras):
    for name in ("a b.json", "ä+ü%20.json", "x=y&z#1.json", "(a)'!*.json"):
        loras.put("loras", f"odd/{name}", name.encode())
    located = locate("s3://loras/odd")
    assert {name: read(located, name).decode() for name in located.files} == {name: name for name in located.files}
    assert read(locate("s3://loras/odd/ä+ü%20.json"), "ä+ü%20.json") == "ä+ü%20.json".encode()


@pytest.mark.parametrize(
    "name",
    ["../out.json", "a//b.json", "./a.json", "a\\..\\b.json", "a\x1b[31m.json", "C:/a.json", "a" * 300 + ".json"],
)
def test_names_that_no_file_in_a_folder_can_have(loras, name):
    loras.put("loras", f"ikea/{name}", b"{}")
    error = refused(locate, "s3://loras/ikea")
    assert "can't be the name of a file in a folder" in error.message
    assert "\x1b" not in str(error)


def test_a_name_that_is_a_file_and_a_folder(loras):
    loras.put("loras", "ikea/unet", b"{}")
    assert "can't be the name" in refused(locate, "s3://loras/ikea").message


def test_the_model_card_of_a_folder_says_its_licence(loras):
    loras.put("loras", "ikea/README.md", b"---\nlicense: mit\ninstance_prompt: ikea style\n---\n")
    located = locate("s3://loras/ikea")
    assert (located.licence, located.card.trigger_words) == ("mit", ("ikea style",))


def test_headers_alone_where_that_is_enough(loras, tmp_path):
    located = locate("s3://loras/ikea")
    with located.outlines(["ikea.safetensors", "unet/config.json"]) as folder:
        assert (folder / "ikea.safetensors").stat().st_size == len(WEIGHTS)
        assert (folder / "ikea.safetensors").read_bytes()[: 128 * 1024] == WEIGHTS[: 128 * 1024]
        assert (folder / "unet/config.json").read_bytes() == FILES["unet/config.json"]
    assert not list((tmp_path / "cache").rglob("*safetensors"))


# --- digests


@pytest.mark.parametrize("how", [{"Metadata": {"loramerge-sha256": SHA256}}, {"ChecksumAlgorithm": "SHA256"}], ids=str)
def test_an_object_that_says_its_sha256_is_not_downloaded_for_it(loras, how):
    loras.put("loras", "ikea/ikea.safetensors", WEIGHTS, **how)
    for located in (locate(), locate("s3://loras/ikea")):
        assert located.digests(["ikea.safetensors"]) == {"ikea.safetensors": FileDigest(len(WEIGHTS), SHA256)}
    assert not gets(loras)
    assert read(locate()) == WEIGHTS
    assert f"its sha256 is {SHA256}, expected {'0' * 64}" in refused(locate, sha256="0" * 64).message


def test_one_that_does_not_is_hashed(loras, tmp_path):
    located = locate("s3://loras/ikea")
    name = "vae/config.json"
    assert located.digests([name]) == {name: FileDigest(2, hashlib.sha256(b"{}").hexdigest())}


def test_a_sha256_that_is_not_that_of_the_object(loras):
    loras.put("loras", "ikea/ikea.safetensors", b"other", Metadata={"loramerge-sha256": SHA256})
    error = refused(locate().fetch, ["ikea.safetensors"])
    assert "is not what the storage says" in error.message
    assert f"expected {SHA256}" in error.message


def test_sha256_of_the_recipe(loras):
    assert read(locate(sha256=SHA256)) == WEIGHTS
    assert "not the one that was promised" in refused(locate(sha256="0" * 64).fetch, ["ikea.safetensors"]).message
    assert "`sha256` is for one file" in refused(locate, "s3://loras/ikea", sha256=SHA256).message


# --- the cache


def test_fetching_once(loras):
    folder = locate().fetch(["ikea.safetensors"])
    loras.log.clear()
    assert locate().fetch(["ikea.safetensors"]) == folder
    assert read(locate("s3://loras/ikea")) == WEIGHTS  # the same object, in another folder
    assert not gets(loras)


def test_another_content_is_fetched_and_the_earlier_stays_for_who_reads_it(loras):
    before = locate()
    folder = before.fetch(["ikea.safetensors"])
    loras.put("loras", "ikea/ikea.safetensors", b"retrained")
    assert read(locate()) == b"retrained"
    assert (folder / "ikea.safetensors").read_bytes() == WEIGHTS


def test_what_changes_between_listing_and_fetching_is_refused(loras):
    located = locate()
    loras.put("loras", "ikea/ikea.safetensors", b"retrained")
    error = refused(located.fetch, ["ikea.safetensors"])
    assert "was changed by somebody else" in error.message
    assert error.hint == "run again when nothing else writes it"


def test_a_cached_file_that_was_damaged_is_fetched_again(loras):
    file = locate().fetch(["ikea.safetensors"]) / "ikea.safetensors"
    file.resolve().write_bytes(WEIGHTS[:-1] + b"?")
    assert read(locate()) == WEIGHTS
    file.unlink()
    file.write_bytes(b"in the place of the link")
    assert read(locate()) == WEIGHTS


def test_a_download_that_is_cut_off_leaves_no_file(loras):
    loras.inject("GET", "ikea.safetensors", Reset(), times=9)
    assert "broke off" in refused(locate().fetch, ["ikea.safetensors"]).message
    assert not [path for path in cache_folder().rglob("*") if path.is_file()]
    loras.mend()
    assert read(locate()) == WEIGHTS


def test_a_cache_that_can_not_be_written(loras):
    located = locate()
    cache_folder().parent.mkdir()
    cache_folder().write_text("in the way")
    assert "can't keep the file in" in refused(located.fetch, ["ikea.safetensors"]).message


# --- versions


@pytest.fixture
def versions(loras):
    loras.bucket("kept", versioned=True)
    first, _ = loras.put("kept", "ikea.safetensors", WEIGHTS), loras.put("kept", "ikea.safetensors", b"retrained")
    return first


def test_a_version_of_an_object(loras, versions):
    assert read(locate("s3://kept/ikea.safetensors")) == b"retrained"
    assert read(locate("s3://kept/ikea.safetensors", revision=versions)) == WEIGHTS
    loras.remove("kept", "ikea.safetensors")
    assert read(locate("s3://kept/ikea.safetensors", revision=versions)) == WEIGHTS
    refused(locate, "s3://kept/ikea.safetensors")


@pytest.mark.parametrize("reference", ["s3://kept/ikea.safetensors", "s3://kept/none.safetensors", FILE])
def test_a_version_that_is_not_there(loras, versions, reference):
    error = refused(locate, reference, revision="none")
    assert "no object with the version none" in error.message
    assert "nor do buckets without versions" in error.hint


def test_a_version_of_a_folder(loras):
    assert "`revision` is the version of one object" in refused(source, "s3://loras/ikea/", revision="v").message
    assert "no object with the version v" in refused(locate, "s3://loras/ikea", revision="v").message
    assert "is no version of an object" in refused(source, revision="a b").message


# --- who asks


def test_whoever_has_no_credentials_may_read_what_is_open_to_everybody(loras, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    loras.put("loras", "ikea/ikea.safetensors", WEIGHTS, ACL="public-read")
    assert read(locate()) == WEIGHTS
    assert {call.token for call in loras.log} == {""}
    assert "no credentials" in refused(locate, "s3://loras/ikea/unet/config.json").message
    loras.inject("HEAD", "ikea", Refusal("AccessDenied", 403), times=9)
    error = refused()
    assert "it is not open to everybody, and there are no credentials" in error.message
    assert "AWS_PROFILE" in error.hint


def test_a_profile(loras, monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = other\naws_secret_access_key = other\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert read(locate()) == WEIGHTS
    assert all("Credential=other/" in call.token for call in loras.log)
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert "no such profile" in refused().message


def test_half_of_the_credentials(loras, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "incomplete" in refused().message


# --- what goes wrong


def test_no_such_bucket_object_or_folder(loras):
    assert "there is no bucket nobodys" in refused(locate, "s3://nobodys/ikea.safetensors").message
    assert "there is no bucket nobodys" in refused(locate, "s3://nobodys").message
    error = refused(locate, "s3://loras/ikea/ikee.safetensors")
    assert "the bucket loras has no object and no folder ikea/ikee.safetensors" in error.message
    assert error.hint == "did you mean ikea/ikea.safetensors?"
    loras.bucket("empty")
    assert "the bucket is empty" in refused(locate, "s3://empty").message


LASTING = [
    (Status(403), "forbids reading loras"),
    (Refusal("InvalidAccessKeyId", 403), "does not know the access key"),
    (Refusal("SignatureDoesNotMatch", 403), "does not accept the secret"),
    (Refusal("ExpiredToken", 400), "have expired"),
    (Refusal("RequestTimeTooSkewed", 403), "clock"),
    (Refusal("AuthorizationHeaderMalformed", 400, "<Region>eu-north-1</Region>"), "in another region"),
    (Refusal("InvalidObjectState", 403), "archived"),
    (Refusal("SlowDown", 503), "busy"),
    (Refusal("InternalError", 500), r"the storage failed (500)"),
    (Refusal("Odd", 418), "refuses the request (Odd)"),
    (NotAHub(), "no S3 storage"),
]


@pytest.mark.parametrize(("fault", "message"), LASTING, ids=repr)
def test_refusals_are_told_in_plain_words(loras, fault, message):
    loras.inject("GET", "list-type", fault, times=9)
    error = refused(locate, "s3://loras/ikea")
    assert message in error.message
    assert error.message.startswith("s3://loras/ikea: ")
    assert error.exit_code == 4


def test_the_region_is_named(loras):
    loras.inject("GET", "list-type", LASTING[5][0], times=9)
    loras.inject("HEAD", "", LASTING[5][0], times=9)
    assert "AWS_REGION to eu-north-1" in refused(locate, "s3://loras/ikea/").hint


@pytest.mark.parametrize("fault", [Reset(), Truncated()], ids=repr)
def test_a_body_that_breaks_off_is_asked_for_again(loras, fault):
    located = locate()
    loras.inject("GET", "ikea.safetensors", fault)
    assert read(located) == WEIGHTS


def test_wrong_bytes_are_found_out_where_the_storage_says_what_is_right(loras):
    loras.put("loras", "ikea/ikea.safetensors", WEIGHTS, ChecksumAlgorithm="SHA256")
    loras.inject("GET", "ikea.safetensors", WrongBytes(), times=3)
    assert "what arrived is not what was sent" in refused(locate().fetch, ["ikea.safetensors"]).message
    loras.inject("GET", "ikea.safetensors", WrongBytes())
    assert read(locate()) == WEIGHTS


def test_a_storage_that_is_busy_is_asked_again(loras, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    loras.inject("HEAD", "ikea.safetensors", Refusal("SlowDown", 503))
    assert locate().files == ("ikea.safetensors",)


def test_a_storage_that_does_not_answer(loras, monkeypatch):
    monkeypatch.setattr("loramerge.storage.client._SILENT", 0.3)
    loras.inject("HEAD", "ikea.safetensors", Slow(1))
    assert "did not answer in time" in refused().message


def test_nobody_there(loras):
    loras.stop()
    error = refused()
    assert f"can't reach the storage at {loras.url}" in error.message
    assert "AWS_ENDPOINT_URL" in error.hint


@pytest.mark.parametrize(("name", "value"), [("AWS_ENDPOINT_URL_S3", "localhost"), ("AWS_MAX_ATTEMPTS", "many")])
def test_settings_that_can_not_be(loras, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    error = refused()
    assert "can't do what is asked by their settings" in error.message
    assert value in error.message


# --- what it is called


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("s3://", "names no bucket"),
        ("s3:/loras/a", "names no bucket"),
        ("s3:loras/a", "names no bucket"),
        ("s3:///a", "names no bucket"),
        ("s3://Loras/a", "names no bucket"),
        ("s3://lo_ras/a", "names no bucket"),
        ("s3://192.168.0.1/a", "names no bucket"),
        ("s3://a..b/a", "names no bucket"),
        ("s3://loras/a//b", "is no path in a bucket"),
        ("s3://loras//a", "is no path in a bucket"),
        ("s3://loras/../a", "is no path in a bucket"),
        ("s3://loras/a\\b", "is no path in a bucket"),
        ("s3://loras/a//", "is no path in a bucket"),
        ("s3://loras/" + "a/" * 600 + "b", "is too long"),
        ("s3://loras/a?versionId=1", "it has no query"),
    ],
)
def test_addresses_that_are_none(reference, message):
    assert message in refused(source, reference).message


def test_keys_in_an_address_are_refused_and_not_shown():
    for address in (f"s3://{KEY}:{SECRET}@loras/a", f"s3://{KEY}@loras/a", "s3://loras:9000/a"):
        error = refused(source, address)
        assert "neither '@' nor ':'" in error.message
        assert "AWS_PROFILE" in error.hint


def test_a_commit_changes_nothing():
    assert source().at("0" * 40) == source()
    assert source().local is None


def test_without_the_extra(monkeypatch):
    import sys

    from loramerge.errors import LoramergeError
    from loramerge.storage.client import _client

    _client.cache_clear()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(LoramergeError) as raised:
        locate()
    assert raised.value.hint == "pip install 'loramerge[s3]'"
    assert os.environ.get("AWS_SECRET_ACCESS_KEY") is None or SECRET not in str(raised.value)
