import hashlib
from pathlib import Path

import pytest
from hub.environment import CACHE
from hub.example import FILES, OWNER, REPO, SHA256, STRANGER, WEIGHTS
from hub.faults import Status

from loramerge.errors import SourceError
from loramerge.files.digest import FileDigest
from loramerge.sources import parse

FILE = f"hf://{REPO}/ikea.safetensors"


def locate(reference=FILE, **extra):
    return parse(reference, folder=Path("/nowhere"), **extra).locate()


def read(located, name):
    return (located.fetch([name]) / name).read_bytes()


def test_locating_a_file(repository):
    located = locate()
    assert (located.revision, located.files) == (repository.head, ("ikea.safetensors",))


def test_locating_a_repository(repository):
    assert locate(f"hf://{REPO}").files == tuple(sorted(FILES))


def test_locating_a_folder(repository):
    assert locate(f"hf://{REPO}/unet").files == ("config.json", "diffusion.safetensors")


def test_a_branch_is_asked_for_anew_each_time(hub, repository):
    read(locate(), "ikea.safetensors")
    moved = hub.store.write(repository, {"ikea.safetensors": b"retrained"})
    located = locate()
    assert located.revision == moved
    assert read(located, "ikea.safetensors") == b"retrained"


def test_a_tag_and_a_commit_stay_where_they_are(hub, repository):
    before = repository.head
    repository.refs["refs/tags/v1"] = before
    hub.store.write(repository, {"ikea.safetensors": b"retrained"})
    assert {locate(revision=each).revision for each in ("v1", before, before[:8])} == {before}


def test_locating_downloads_nothing(hub, repository):
    locate(f"hf://{REPO}")
    assert [str(call) for call in hub.log] == [f"GET /api/models/{REPO}"]


def test_fetching_by_commit_even_when_the_branch_moved_meanwhile(hub, repository):
    located = locate()
    hub.store.write(repository, {"ikea.safetensors": b"retrained"})
    assert read(located, "ikea.safetensors") == WEIGHTS
    assert not (CACHE / "models--ostris--ikea-lora/refs").exists()


def test_fetching_names_are_relative_to_the_reference(repository):
    folder = locate(f"hf://{REPO}/unet").fetch(["config.json", "diffusion.safetensors"])
    assert (folder / "config.json").read_bytes() == FILES["unet/config.json"]
    assert (folder / "diffusion.safetensors").read_bytes() == b"unet weights"


def test_fetching_only_what_is_named(hub, repository):
    folder = locate(f"hf://{REPO}").fetch(["unet/config.json"])
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.*")] == ["unet/config.json"]


def test_fetching_once(hub, repository):
    located = locate()
    located.fetch(located.files)
    hub.log.clear()
    located.fetch(located.files)
    assert hub.log == []


def test_fetching_the_right_sha256(repository):
    assert read(locate(sha256=SHA256), "ikea.safetensors") == WEIGHTS


def test_fetching_a_name_that_is_not_there(repository):
    with pytest.raises(SourceError, match=r"there is no file unet/config\.jsn") as raised:
        locate(f"hf://{REPO}").fetch(["unet/config.jsn"])
    assert "unet/config.json" in raised.value.hint


def test_a_repository_that_does_not_exist(hub):
    with pytest.raises(SourceError, match=f"{REPO} does not exist or is private") as raised:
        locate()
    assert "log in with `hf auth login` or set HF_TOKEN" in raised.value.hint


@pytest.mark.parametrize("token", ["", STRANGER])
def test_a_private_repository(hub, monkeypatch, token):
    hub.repository(REPO, FILES, private=True)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SourceError, match="does not exist or is private"):
        locate()


def test_a_private_repository_opens_to_its_owner(hub, monkeypatch):
    hub.repository("tester/lora", FILES, private=True)
    monkeypatch.setenv("HF_TOKEN", OWNER)
    assert read(locate("hf://tester/lora/ikea.safetensors"), "ikea.safetensors") == WEIGHTS


@pytest.mark.parametrize("token", ["", STRANGER])
def test_a_gated_repository(hub, monkeypatch, token):
    hub.repository(REPO, FILES, gated=True)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SourceError, match=f"{REPO} is gated") as raised:
        locate()
    assert f"accept its conditions at {hub.url}/{REPO}" in raised.value.hint


def test_a_gated_repository_opens_to_the_admitted(hub, monkeypatch):
    hub.repository(REPO, FILES, gated=True).admitted.add("stranger")
    monkeypatch.setenv("HF_TOKEN", STRANGER)
    assert read(locate(), "ikea.safetensors") == WEIGHTS


def test_a_repository_that_closes_between_listing_and_download(repository):
    located = locate()
    repository.gated = True
    with pytest.raises(SourceError, match="is gated"):
        located.fetch(located.files)


def test_a_wrong_token(repository, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(SourceError, match="does not accept the token"):
        locate()


def test_a_revision_that_does_not_exist(repository):
    with pytest.raises(SourceError, match="has no revision v2") as raised:
        locate(revision="v2")
    assert "give a branch, a tag or a commit" in raised.value.hint


def test_a_revision_with_a_mistake_in_it(hub, repository):
    repository.refs["refs/tags/v1.0-final"] = repository.head
    for wrong, right in {"mian": "main", "v1.0-fnal": "v1.0-final"}.items():
        with pytest.raises(SourceError, match=f"has no revision {wrong}") as raised:
            locate(revision=wrong)
        assert raised.value.hint == f"did you mean {right}?"
    hub.inject("GET", "/refs", Status(500), times=99)
    with pytest.raises(SourceError, match="has no revision mian") as raised:
        locate(revision="mian")
    assert "give a branch" in raised.value.hint


def test_a_file_that_does_not_exist(repository):
    with pytest.raises(SourceError, match=r"has no file or folder ikee\.safetensors") as raised:
        locate(f"hf://{REPO}/ikee.safetensors")
    assert raised.value.hint == "did you mean ikea.safetensors?"


def test_a_folder_that_does_not_exist(repository):
    with pytest.raises(SourceError, match="has no file or folder unnet") as raised:
        locate(f"hf://{REPO}/unnet")
    assert raised.value.hint == "did you mean unet?"


def test_a_repository_without_files(hub):
    hub.repository(REPO)
    with pytest.raises(SourceError, match="has no files"):
        locate(f"hf://{REPO}")


def test_an_empty_file(hub):
    hub.repository(REPO, {"ikea.safetensors": b""})
    with pytest.raises(SourceError, match="the file is empty"):
        locate()


def test_a_wrong_sha256_before_any_download(hub, repository):
    with pytest.raises(SourceError, match=f"{SHA256}, expected {'0' * 64}"):
        locate(sha256="0" * 64)
    assert len(hub.log) == 1


def test_a_wrong_sha256_of_a_small_file(repository):
    located = locate(f"hf://{REPO}/vae/config.json", sha256="0" * 64)
    with pytest.raises(SourceError, match=f"expected {'0' * 64}"):
        located.fetch(located.files)


def test_a_sha256_for_a_folder(repository):
    with pytest.raises(SourceError, match="it is a folder"):
        locate(f"hf://{REPO}/unet", sha256=SHA256)


@pytest.mark.parametrize("name", ["../evil.safetensors", "unet/../../evil.safetensors", "/etc/passwd", "a\\..\\b"])
def test_a_name_that_leaves_its_folder(hub, name):
    hub.repository(REPO, {**FILES, name: b"x"})
    with pytest.raises(SourceError, match="a file name that leaves its folder"):
        locate(f"hf://{REPO}")


def test_digests_of_large_files_come_from_the_listing(hub, repository):
    located = locate(f"hf://{REPO}")
    hub.log.clear()
    found = located.digests(["vae/config.json", "ikea.safetensors"])
    assert found == {
        "ikea.safetensors": FileDigest(len(WEIGHTS), SHA256),
        "vae/config.json": FileDigest(2, hashlib.sha256(b"{}").hexdigest()),
    }
    assert list(found) == ["ikea.safetensors", "vae/config.json"]
    assert {call.path.rpartition("/")[2] for call in hub.log} == {"config.json"}


def test_digests_of_a_name_that_is_not_there(repository):
    with pytest.raises(SourceError, match=r"there is no file ikea\.bin"):
        locate().digests(["ikea.bin"])


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (b"# No metadata\n", None),
        (b"---\ntags: [lora]\n---\n", None),
        (b"---\nlicense: openrail++\n---\n", "openrail++"),
        (b"---\nlicense: [mit, cc0-1.0]\n---\n", "mit, cc0-1.0"),
        (b"---\nlicense: other\n---\n", "other"),
        (b"---\nlicense: other\nlicense_name: ikea-licence\n---\n", "ikea-licence"),
        (b'---\nlicense: "\\e[31mred"\n---\n', "\\u001b[31mred"),
    ],
)
def test_the_licence_is_the_model_card_s(hub, card, licence):
    hub.repository(REPO, {**FILES, "README.md": card})
    assert locate().licence == licence


def test_at_a_commit_instead_of_a_branch(hub, repository):
    before = repository.head
    hub.store.write(repository, {"ikea.safetensors": b"retrained"})
    assert parse(FILE, folder=Path("/nowhere"), revision="main").at(before).locate().revision == before
