"""Sources in registries: ours on loopback, pushed to by plain oras where that can."""

import json
import os
from pathlib import Path

import numpy as np
import oras.client
import pytest
from hub.faults import NotAHub, Reset, Slow, Status, Truncated, WrongBytes
from registry.server import digest_of
from safetensors.numpy import save

from loramerge.errors import SourceError
from loramerge.files.digest import FileDigest
from loramerge.lock.pin import Pin
from loramerge.provenance.provenance import input_uri
from loramerge.sources import OciSource, parse

NAME = "tester/ink"
WEIGHTS = save({"lora_A": np.arange(4096, dtype=np.float32)})
FILES = {"ink.safetensors": WEIGHTS, "README.md": b"---\nlicense: mit\n---\n", "unet/config.json": b"{}"}
OCI = "application/vnd.oci.image.manifest.v1+json"


def located(reference, **extra):
    return parse(reference, folder=Path("/nowhere"), **extra).locate()


def fetched(reference, **extra):
    found = located(reference, **extra)
    return found.fetch(found.files)


def refused(reference, **extra):
    with pytest.raises(SourceError) as caught:
        fetched(reference, **extra)
    assert caught.value.hint
    assert caught.value.exit_code == 4
    return str(caught.value)


def layer(name, content, kind="application/vnd.cncf.model.weight.v1.raw", **more):
    named = {} if name is None else {"annotations": {"org.cncf.model.filepath": name, **more}}
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content), **named}


def push(registry, layers, blobs, *, tag="v1", config=b"{}", kind=OCI, **more):
    """A manifest as a stranger writes it; returns its digest."""
    repository = registry.repositories.setdefault(NAME, registry_repository(registry))
    repository.blobs |= {digest_of(blob): blob for blob in (*blobs, config)}
    about = {"mediaType": "application/vnd.cncf.model.config.v1+json", "digest": digest_of(config), "size": len(config)}
    content = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": about, "layers": layers, **more}).encode()
    repository.manifests[digest_of(content)] = (kind, content)
    repository.tags[tag] = digest_of(content)
    return digest_of(content)


def registry_repository(registry):
    from registry.server import Repository

    return registry.repositories.get(NAME, Repository())


@pytest.fixture
def ink(registry):
    """The reference of an artifact with all files, without its tag."""
    push(registry, [layer(name, content) for name, content in FILES.items()], FILES.values())
    return f"oci://{registry.host}/{NAME}"


def test_an_artifact_a_folder_and_a_file_in_it(registry, ink):
    whole = located(f"{ink}:v1")
    assert whole.revision == registry.repositories[NAME].tags["v1"]
    assert (whole.files, whole.licence) == (tuple(sorted(FILES)), "mit")
    assert whole.listed["ink.safetensors"] == FileDigest(len(WEIGHTS), digest_of(WEIGHTS)[7:])
    assert located(f"{ink}:v1/unet").files == ("config.json",)
    one = located(f"{ink}@{whole.revision}/ink.safetensors")
    assert (one.files, one.revision) == (("ink.safetensors",), whole.revision)
    assert (one.fetch(one.files) / "ink.safetensors").read_bytes() == WEIGHTS


def test_locating_fetches_no_weights(registry, ink):
    registry.log.clear()
    located(f"{ink}:v1").digests(FILES)
    assert [call.path for call in registry.log if "blobs" in call.path] == [
        f"/v2/{NAME}/blobs/{digest_of(FILES['README.md'])}"
    ]


def test_a_header_is_fetched_without_its_numbers(registry, ink, monkeypatch):
    monkeypatch.setattr("loramerge.files.outline._FIRST", 200)
    found = located(f"{ink}:v1")
    with found.outlines(["ink.safetensors", "unet/config.json"]) as folder:
        assert (folder / "ink.safetensors").stat().st_size == len(WEIGHTS)
        assert (folder / "ink.safetensors").read_bytes()[:64] == WEIGHTS[:64]
        assert (folder / "unet" / "config.json").read_bytes() == b"{}"
    kept = Path(os.environ["XDG_CACHE_HOME"], "loramerge", "oci", "blobs")
    assert digest_of(WEIGHTS)[7:] not in {path.name for path in kept.iterdir()}


def test_what_oras_pushed_is_read(registries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ink.safetensors").write_bytes(WEIGHTS)
    client = oras.client.OrasClient(insecure=True)
    client.push(f"{registries}/small/plain:v1", files=["ink.safetensors"], quiet=True)
    found = located(f"oci://{registries}/small/plain:v1/ink.safetensors")
    assert (found.fetch(found.files) / "ink.safetensors").read_bytes() == WEIGHTS


def test_what_was_fetched_is_not_fetched_again_and_looked_at(registry, ink):
    found = located(f"{ink}:v1")
    file = found.fetch(["ink.safetensors"]) / "ink.safetensors"
    registry.log.clear()
    found.fetch(["ink.safetensors"])
    assert registry.log == []
    file.write_bytes(WEIGHTS[::-1])  # poisoned, and what it is linked to with it
    assert (found.fetch(["ink.safetensors"]) / "ink.safetensors").read_bytes() == WEIGHTS
    assert len(registry.log) == 1


def test_a_file_that_an_artifact_shares_with_another_is_fetched_once(registry, ink):
    located(f"{ink}:v1").fetch(["ink.safetensors"])
    push(registry, [layer("other.safetensors", WEIGHTS)], [WEIGHTS], tag="v2")
    registry.log.clear()
    found = located(f"{ink}:v2")
    assert (found.fetch(found.files) / "other.safetensors").read_bytes() == WEIGHTS
    assert not any(digest_of(WEIGHTS) in call.path for call in registry.log)


def test_a_lock_holds_the_artifact_at_its_digest(registry, ink):
    before = located(f"{ink}:v1")
    after = push(registry, [layer("ink.safetensors", b"retrained")], [b"retrained"])
    source = parse(f"{ink}:v1", folder=Path("/nowhere"))
    assert source.at(before.revision).locate().revision == before.revision
    assert located(f"{ink}:v1").revision == after
    fixed = parse(f"{ink}@{after}", folder=Path("/nowhere"))
    assert fixed.at(before.revision).locate().revision == after
    assert fixed.at("0" * 40) == fixed
    from loramerge.lock.model import LockedSource

    files = {name: {"size": known.size, "sha256": known.sha256} for name, known in before.listed.items()}
    locked = LockedSource(source=f"{ink}:v1", commit=before.revision, files=files)
    with pytest.raises(SourceError, match="is at the digest sha256"):
        Pin("loras.a", locked, "loramerge lock").hold(located(f"{ink}:v1"), ["ink.safetensors"])


def test_provenance_names_the_digest():
    digest = f"sha256:{'0' * 64}"
    for tag in (":v1", f"@sha256:{'1' * 64}"):
        for path in ("", "/a/ink.safetensors"):
            uri = input_uri(f"oci://localhost:5000/me/ink{tag}{path}", digest, "ink.safetensors")
            assert uri == f"oci://localhost:5000/me/ink@{digest}{path or '/ink.safetensors'}"


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("oci://host", "names no artifact"),
        ("oci:host/name:tag", "names no artifact"),
        ("OCI://host/name:tag", "names no artifact"),
        ("oci:///name:tag", "names no artifact"),
        ("oci://host/Name:tag", "names no artifact"),
        ("oci://host/name", "neither a tag nor a digest"),
        ("oci://host/name/file.safetensors", "neither a tag nor a digest"),
        (f"oci://host/name:tag@sha256:{'0' * 64}", "both a tag and a digest"),
        ("oci://host/name@sha512:00", "names no artifact"),
        ("oci://host/name:tag/../x", "no path in an artifact"),
        ("oci://host/name:tag//x", "no path in an artifact"),
        ("oci://host/name:tag/", "no path in an artifact"),
        ("oci://me:hf_made_up@host/name:tag", "has no user"),
        ("oci://host/name:tag?token=hf_made_up", "no query"),
        ("oci://host/name:tag#x", "no query"),
        ("oci://host/name:tag/x.bin", "pickle"),
    ],
)
def test_what_is_no_reference(reference, said):
    assert said in refused(reference)


def test_a_revision_and_a_sha256_go_with_what_they_can():
    assert "in it" in refused("oci://host/name:tag", revision="main")
    assert "for one file" in refused("oci://host/name:tag", sha256="0" * 64)
    assert isinstance(parse("oci://host/name:tag/x.safetensors", folder=Path(), sha256="0" * 64), OciSource)


def test_a_sha256_is_compared_without_a_download(registry, ink):
    right = digest_of(WEIGHTS)[7:]
    assert located(f"{ink}:v1/ink.safetensors", sha256=right).files == ("ink.safetensors",)
    assert "not the one that was promised" in refused(f"{ink}:v1/ink.safetensors", sha256="0" * 64)
    assert "it is a folder" in refused(f"{ink}:v1/unet", sha256=right)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\b", "C:x", "a//b", "a\u0000b"])
def test_names_that_leave_their_folder_are_refused(registry, name):
    push(registry, [layer("ok.safetensors", WEIGHTS), layer(name, b"x")], [WEIGHTS, b"x"])
    assert "leaves its folder" in refused(f"oci://{registry.host}/{NAME}:v1/ok.safetensors")


def test_names_that_steer_a_terminal_or_come_twice_are_refused(registry):
    push(registry, [layer("a\u202eb", WEIGHTS)], [WEIGHTS])
    said = refused(f"oci://{registry.host}/{NAME}:v1")
    assert "control characters" in said
    assert "\u202e" not in said
    push(registry, [layer("a", WEIGHTS), layer("a", b"x")], [WEIGHTS, b"x"])
    assert "two files called a" in refused(f"oci://{registry.host}/{NAME}:v1")


def test_archives_are_refused_by_name_and_what_lies_beside_them_is_read(registry):
    kind = "application/vnd.cncf.model.doc.v1.tar"
    push(registry, [layer("ink.safetensors", WEIGHTS), layer("docs", b"tar", kind)], [WEIGHTS, b"tar"])
    assert "docs is a tar archive" in refused(f"oci://{registry.host}/{NAME}:v1")
    assert located(f"oci://{registry.host}/{NAME}:v1/ink.safetensors").files == ("ink.safetensors",)
    kind, unpack = "application/vnd.oci.image.layer.v1.tar+gzip", {"io.deis.oras.content.unpack": "true"}
    push(registry, [layer("ink", b"tar", kind, **unpack)], [b"tar"])
    assert "ink is a tar archive" in refused(f"oci://{registry.host}/{NAME}:v1")


def test_an_image_and_an_index_are_told(registry):
    push(registry, [layer(None, b"tar", "application/vnd.oci.image.layer.v1.tar+gzip")], [b"tar"])
    assert "as of a container image" in refused(f"oci://{registry.host}/{NAME}:v1")
    push(registry, [], [], kind="application/vnd.oci.image.index.v1+json")
    assert "an index of several manifests" in refused(f"oci://{registry.host}/{NAME}:v1")


def test_a_licence_in_the_annotations_or_the_config(registry):
    reference = f"oci://{registry.host}/{NAME}:v1"
    push(registry, [layer("a", WEIGHTS)], [WEIGHTS], annotations={"org.opencontainers.image.licenses": "MIT"})
    assert located(reference).licence == "MIT"
    push(
        registry, [layer("a", WEIGHTS)], [WEIGHTS], config=b'{"descriptor": {"licenses": ["Apache-2.0", "MIT\\u0007"]}}'
    )
    assert located(reference).licence == "Apache-2.0, MIT"
    push(registry, [layer("a", WEIGHTS)], [WEIGHTS], config=b"[" * 2000)
    assert located(reference).licence is None


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Status(401), "wants a login"),
        (Status(403), "denies access"),
        (Status(429, {"Retry-After": "1000"}), "try again in 1000 s"),
        (Status(502), "failed (502)"),
        (Status(404), "has no tag v1"),
        (NotAHub(), "is no manifest"),
        (WrongBytes(), "another manifest"),
        (Slow(0.3), "did not answer in time"),
    ],
)
def test_what_goes_wrong_is_told(registry, ink, fault, said, monkeypatch):
    monkeypatch.setattr("loramerge.registry.client.SECONDS", 0.1 if isinstance(fault, Slow) else 2.0)
    registry.inject("GET", "/manifests/", fault, times=9)
    assert said in refused(f"{ink}:v1")


@pytest.mark.parametrize("content", [b"null", b"[]", b'{"schemaVersion": 1}', b'{"schemaVersion": 2}', b"[" * 9999])
def test_a_manifest_that_is_none_is_told(registry, ink, content):
    repository = registry.repositories[NAME]
    repository.manifests[digest_of(content)] = (OCI, content)
    repository.tags["v1"] = digest_of(content)
    assert "is no manifest" in refused(f"{ink}:v1")


def test_a_tag_that_is_misspelt_is_told(registry, ink):
    assert "did you mean v1?" in refused(f"{ink}:v11")
    assert "there is no tester/other with v1" in refused(f"oci://{registry.host}/tester/other:v1")
    assert "there is no tester/ink with sha256" in refused(f"{ink}@sha256:{'0' * 64}")


def test_a_manifest_without_end_is_told(registry, ink):
    content = json.dumps({"schemaVersion": 2, "layers": [], "x": "y" * (4 << 20)}).encode()
    registry.repositories[NAME].manifests[digest_of(content)] = (OCI, content)
    registry.repositories[NAME].tags["v1"] = digest_of(content)
    assert "more than the 4194304 bytes" in refused(f"{ink}:v1")


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "sha512:00"},
        {"digest": 1},
        {"size": -1},
        {"size": "1"},
        {"size": True},
        {"mediaType": None},
        {"annotations": {"a": 1}},
        {"annotations": []},
    ],
)
def test_a_layer_that_is_none_is_told(registry, change):
    push(registry, [layer("a", WEIGHTS) | change], [WEIGHTS])
    assert "is no manifest" in refused(f"oci://{registry.host}/{NAME}:v1")


def test_a_download_that_breaks_off_goes_on_where_it_was(registry, ink):
    blob = f"/blobs/{digest_of(WEIGHTS)}"
    registry.inject("GET", blob, Truncated())
    registry.inject("GET", blob, Reset())
    found = located(f"{ink}:v1")
    assert (found.fetch(["ink.safetensors"]) / "ink.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(("fault", "said"), [(WrongBytes(), "another file"), (Truncated(), "broke off")])
def test_bytes_that_are_others_are_never_kept(registry, ink, fault, said):
    registry.inject("GET", f"/blobs/{digest_of(WEIGHTS)}", fault, times=9)
    assert said in refused(f"{ink}:v1/ink.safetensors")
    kept = Path(os.environ["XDG_CACHE_HOME"], "loramerge", "oci")
    names = {"README.md", digest_of(FILES["README.md"])[7:]}  # what was fetched for the licence
    assert {path.name for path in kept.rglob("*") if path.is_file()} == names


@pytest.mark.parametrize(("size", "said"), [(10, "has 10 bytes"), (len(WEIGHTS) + 10, "bytes, and")])
def test_a_blob_that_lies_about_its_size(registry, size, said):
    push(registry, [layer("a.safetensors", WEIGHTS) | {"size": size}], [WEIGHTS])
    assert said in refused(f"oci://{registry.host}/{NAME}:v1")


def test_whoever_blobs_are_fetched_from_elsewhere_is_told_no_token(registry, ink):
    registry.login = "token"
    registry.elsewhere = f"http://localhost:{registry.port}"
    found = located(f"{ink}:v1")
    assert (found.fetch(["ink.safetensors"]) / "ink.safetensors").read_bytes() == WEIGHTS
    assert registry.seen
    assert set(registry.seen) == {""}
    with found.outlines(["ink.safetensors"]) as folder:
        assert (folder / "ink.safetensors").read_bytes()[:64] == WEIGHTS[:64]


def test_blobs_are_not_fetched_from_elsewhere_in_the_clear(registry, ink):
    registry.elsewhere = "http://192.0.2.1"
    assert "192.0.2.1, which is not https" in refused(f"{ink}:v1")


def test_without_oras_it_says_what_to_install(ink, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "oras", None)
    assert "pip install 'loramerge[oci]'" in refused(f"{ink}:v1")
