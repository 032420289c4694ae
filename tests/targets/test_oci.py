"""Publishing to registries: ours on loopback, with and without referrers, and Debian's."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import oras.client
import pytest
from hub.faults import Meanwhile, NotAHub, Reset, Slow, Status, Truncated, WrongBytes
from registry.server import PASSWORD, PULL, PUSH, USER, Registry, digest_of
from safetensors.numpy import save

from loramerge.errors import PublishError
from loramerge.files.digest import files_of
from loramerge.sources import parse
from loramerge.targets import OciTarget
from loramerge.targets.target import Delivery

pytestmark = pytest.mark.slow

NAME, TAG = "tester/merged", "v1"
WEIGHTS = save({"lora_A": np.zeros((64, 64), np.float16), "lora_B": np.zeros((4, 4), np.float32)})
STATEMENT = b'{"_type": "https://in-toto.io/Statement/v1"}\n'
FILES = {
    "README.md": b"---\nlicense: mit\n---\n# merged\n",
    "provenance.json": STATEMENT,
    "model.sig": b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}\n',
    "peft/unet/adapter_config.json": b"{}\n",
    "mine.safetensors": WEIGHTS,
    "empty.txt": b"",
}
CONFIG = {  # ModelPack's, as far as it is written here
    "type": "object",
    "required": ["descriptor", "config", "modelfs"],
    "additionalProperties": False,
    "properties": {
        "descriptor": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "description": {"type": "string"},
                "licenses": {"type": "array", "items": {"type": "string"}},
            },
        },
        "config": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"format": {"const": "safetensors"}, "precision": {"type": "string"}},
        },
        "modelfs": {
            "type": "object",
            "required": ["type", "diffIds"],
            "additionalProperties": False,
            "properties": {
                "type": {"const": "layers"},
                "diffIds": {"type": "array", "minItems": 1, "items": {"pattern": "^sha256:[0-9a-f]{64}$"}},
            },
        },
    },
}


@pytest.fixture
def files(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "artifact" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return files_of(tmp_path / "artifact")


@pytest.fixture
def changed(files, tmp_path):
    """The same files, one with another content."""
    (tmp_path / "other.safetensors").write_bytes(save({"lora_A": np.ones((2, 2), np.float16)}))
    return {**files, "mine.safetensors": tmp_path / "other.safetensors"}


def target(host, tag=TAG, name=NAME):
    return OciTarget(kind="oci", repository=f"{host}/{name}", tag=tag)


def delivery(files, recipe="mine", home="home"):
    definition = {"recipe": {"description": "Ink, merged."}}
    return Delivery(recipe, files, definition, ("peft",), home=home)


def put(host, files, *, force=False, recipe="mine", tag=TAG, name=NAME):
    return target(host, tag, name).publish(delivery(files, recipe), Path("/nowhere"), force=force)


def live(host, recipe="mine", tag=TAG, name=NAME):
    return target(host, tag, name).live(recipe, Path("/nowhere"))


def refused(host, files, **settings):
    with pytest.raises(PublishError) as caught:
        put(host, files, **settings)
    assert caught.value.hint
    assert caught.value.exit_code == 7
    return str(caught.value)


def repository(registry):
    return registry.repositories[NAME]


def manifest(registry, tag=TAG):
    return json.loads(repository(registry).manifests[repository(registry).tags[tag]][1])


def writes(registry):
    return [str(call) for call in registry.log if call.method not in {"GET", "HEAD"}]


@pytest.mark.parametrize("name", ["small/one", "small/two"])
def test_what_is_published_comes_back_and_nothing_is_pushed_twice(registries, files, registry, name, tmp_path):
    receipt = put(registries, files, name=name)
    assert receipt.changed
    before = live(registries, name=name)
    assert (before.published, before.drift, before.refusal) == (True, (), "")
    assert before.outputs == ("peft",)
    registry.log.clear()
    again = put(registries, files, name=name)
    assert (again.changed, again.url) == (False, receipt.url)
    assert writes(registry) == []
    located = parse(receipt.place, folder=tmp_path).locate()
    assert receipt.url.endswith(located.revision)
    assert located.licence == "mit"
    folder = located.fetch(located.files)
    assert {each: (folder / each).read_bytes() for each in located.files} == FILES


def test_oras_pulls_the_same_files(registries, files, tmp_path):
    put(registries, files, name="small/three")
    client = oras.client.OrasClient(insecure=True)
    client.pull(f"{registries}/small/three:{TAG}", outdir=str(tmp_path / "pulled"))
    found = {name: path.read_bytes() for name, path in files_of(tmp_path / "pulled").items()}
    assert {name: found[name] for name in FILES} == FILES
    assert set(found) - set(FILES) == {".loramerge/mine.json"}


def test_the_manifest_is_one_of_a_model(registry, files):
    put(registry.host, files)
    said = manifest(registry)
    assert said["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert said["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    kinds = {layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"] for layer in said["layers"]}
    start = "application/vnd.cncf.model."
    assert {name: kind.removeprefix(start) for name, kind in kinds.items()} == {
        ".loramerge/mine.json": "doc.v1.raw",
        "README.md": "doc.v1.raw",
        "empty.txt": "weight.config.v1.raw",
        "mine.safetensors": "weight.v1.raw",
        "model.sig": "doc.v1.raw",
        "peft/unet/adapter_config.json": "weight.config.v1.raw",
        "provenance.json": "doc.v1.raw",
    }
    for layer in said["layers"]:
        metadata = json.loads(layer["annotations"]["org.cncf.model.file.metadata+json"])
        assert metadata["size"] == layer["size"]
    config = json.loads(repository(registry).blobs[said["config"]["digest"]])
    jsonschema.validate(config, CONFIG)
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in said["layers"]]
    assert config["config"] == {"format": "safetensors", "precision": "float16,float32"}
    assert config["descriptor"] == {"name": "mine", "description": "Ink, merged.", "licenses": ["mit"]}


def test_the_same_files_are_the_same_manifest_wherever_they_are_published(registry, files):
    one, two = put(registry.host, files), put(registry.host, files, name="tester/other", tag="v2")
    assert one.url.partition("@")[2] == two.url.partition("@")[2]


@pytest.mark.parametrize("listed", [True, False])
def test_provenance_and_signature_refer_to_it(registry, files, listed):
    registry.referrers, registry.etags = listed, True
    digest = put(registry.host, files).url.partition("@")[2]
    referrers = [
        json.loads(content) for _, content in repository(registry).manifests.values() if b'"subject"' in content
    ]
    assert {each["subject"]["digest"] for each in referrers} == {digest}
    kinds = {each["artifactType"]: repository(registry).blobs[each["layers"][0]["digest"]] for each in referrers}
    assert kinds == {
        "application/vnd.in-toto+json": STATEMENT,
        "application/vnd.dev.sigstore.bundle.v0.3+json": FILES["model.sig"],
    }
    tag = digest.replace(":", "-")
    assert (tag in repository(registry).tags) is not listed
    if not listed:
        index = manifest(registry, tag)
        assert {each["artifactType"] for each in index["manifests"]} == set(kinds)
        assert all(each["annotations"] for each in index["manifests"])


def test_referrers_come_in_pages(registry, files):
    registry.page = 1
    put(registry.host, files)
    assert live(registry.host).drift == ()


def test_a_missing_referrer_is_drift_and_comes_back(registry, files):
    put(registry.host, files)
    there = repository(registry).manifests
    del there[next(each for each, (_, content) in there.items() if b"in-toto" in content and b"subject" in content)]
    assert live(registry.host).drift == ("the referrer with provenance.json is missing",)
    assert put(registry.host, files).changed
    assert live(registry.host).drift == ()


def test_only_what_changed_is_pushed(registry, files, changed):
    put(registry.host, files)
    registry.log.clear()
    put(registry.host, changed)
    uploads = [call for call in writes(registry) if call.startswith("PUT") and "/uploads/" in call]
    assert len(uploads) == 3  # the file, the record and the config
    assert live(registry.host).drift == ()


def test_the_tag_is_the_last_that_is_written(registry, files):
    put(registry.host, files)
    assert writes(registry)[-1] == f"PUT /v2/{NAME}/manifests/{TAG}"


@pytest.mark.parametrize("foreign", [b'{"schemaVersion": 2, "layers": []}', b'{"schemaVersion": 2, "manifests": []}'])
def test_a_tag_of_others_is_not_moved_without_force(registry, files, foreign):
    put(registry.host, files, tag="other")
    digest = digest_of(foreign)
    repository(registry).manifests[digest] = ("application/vnd.oci.image.manifest.v1+json", foreign)
    repository(registry).tags[TAG] = digest
    assert "something that loramerge did not make" in live(registry.host).refusal
    assert "something that loramerge did not make" in refused(registry.host, files)
    assert repository(registry).tags[TAG] == digest
    assert put(registry.host, files, force=True).changed
    assert live(registry.host).drift == ()


def test_a_tag_of_another_recipe_is_not_moved_without_force(registry, files):
    put(registry.host, files, recipe="theirs")
    assert not live(registry.host).published
    assert "the recipe theirs" in refused(registry.host, files)
    put(registry.host, files, force=True)
    assert live(registry.host).published


def test_what_somebody_made_of_it_is_drift(registry, files):
    put(registry.host, files)
    data = manifest(registry)
    for layer in data["layers"]:
        name = layer["annotations"]["org.cncf.model.filepath"]
        if name == "README.md":
            layer["digest"] = data["config"]["digest"]
        if name == "model.sig":
            layer["annotations"] = {"org.opencontainers.image.title": "added.bin"}
    content = json.dumps(data).encode()
    repository(registry).manifests[digest_of(content)] = (data["mediaType"], content)
    repository(registry).tags[TAG] = digest_of(content)
    drift = live(registry.host).drift
    assert {"README.md was changed", "added.bin was added", "model.sig is missing"} <= set(drift)
    assert put(registry.host, files).changed
    assert live(registry.host).drift == ()


def test_a_tag_that_moves_while_we_publish_is_left_alone(registry, files, changed):
    put(registry.host, files)
    put(registry.host, files, tag="other", recipe="theirs")
    theirs = repository(registry).tags["other"]
    registry.inject("POST", "/uploads/", Meanwhile(lambda: repository(registry).tags.update({TAG: theirs})))
    assert "moved by somebody else" in refused(registry.host, changed)
    assert repository(registry).tags[TAG] == theirs


@pytest.mark.parametrize(
    ("fault", "times"), [(Status(503), 2), (Status(429, {"Retry-After": "1"}), 2), (Reset(), 2), (Truncated(), 1)]
)
@pytest.mark.parametrize(
    "call", ["POST .*/uploads/", "PUT .*/uploads/", f"PUT .*/manifests/{TAG}", f"GET .*/manifests/{TAG}"]
)
def test_what_goes_wrong_for_a_moment_is_tried_again(registry, files, fault, times, call):
    put(registry.host, files, tag="other")
    registry.repositories[NAME].blobs.clear()
    registry.inject(*call.split(" "), fault, times=times)
    assert put(registry.host, files).changed
    assert live(registry.host).drift == ()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Status(500), "failed (500)"),
        (Status(429, {"Retry-After": "1000"}), "rate limit"),
        (Status(403), "denies access"),
        (Status(413), "nothing so large"),
        (Status(404), "no such repository"),
        (Status(307, {"Location": "http://192.0.2.1/upload"}), "not https"),
        (Status(307, {"Location": "/v2/again"}), "redirects without end"),
        (NotAHub(), "refuses the request (200)"),
    ],
)
def test_what_stays_wrong_is_told_and_the_tag_stays(registry, files, changed, fault, said):
    put(registry.host, files)
    before = repository(registry).tags[TAG]
    registry.inject("POST", "/uploads/|/again", fault, times=20)
    assert said in refused(registry.host, changed)
    assert repository(registry).tags[TAG] == before


def test_a_registry_that_is_slow_or_down_is_told(registry, files, monkeypatch):
    monkeypatch.setattr("loramerge.registry.client.SECONDS", 0.05)
    registry.inject("GET", "/manifests/", Slow(0.2), times=20)
    assert "did not answer in time" in refused(registry.host, files)
    registry.stop()
    assert "can't reach" in refused(registry.host, files)


def test_a_manifest_that_is_none_is_told(registry, files):
    put(registry.host, files)
    registry.inject("GET", f"/manifests/{TAG}", NotAHub())
    assert "is no manifest" in refused(registry.host, files)
    registry.inject("GET", f"/manifests/{TAG}", WrongBytes())
    assert "another manifest" in refused(registry.host, files)


def login(tmp_path, host, user=USER, password=PASSWORD):
    from base64 import b64encode

    from secrets_scan import on_purpose

    place = on_purpose(tmp_path / "docker" / "config.json")
    place.parent.mkdir(exist_ok=True)
    auth = b64encode(f"{user}:{password}".encode()).decode()
    place.write_text(json.dumps({"auths": {host: {"auth": auth}}}))


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_who_is_logged_in_may_push(registry, files, tmp_path, kind):
    registry.login = kind
    login(tmp_path, registry.host)
    put(registry.host, files)
    assert live(registry.host).drift == ()
    assert {call.token for call in registry.log} <= {"", PULL, PUSH, *_basic(registry)}


def _basic(registry):
    return {call.token for call in registry.log if call.token.startswith("Basic ")}


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_nobody_may_not(registry, files, tmp_path, kind):
    registry.login, registry.public = kind, False
    assert "wants a login" in refused(registry.host, files)
    assert f"docker login {registry.host}" in refused(registry.host, files)
    assert "nobody is logged in" in live(registry.host).note
    login(tmp_path, registry.host, password="hf_wrong")
    assert "does not accept the login" in refused(registry.host, files)
    with pytest.raises(PublishError, match="does not accept the login"):
        live(registry.host)


def test_reading_needs_no_login_where_everybody_may(registry, files, tmp_path):
    registry.login = "token"
    login(tmp_path, registry.host)
    put(registry.host, files)
    (tmp_path / "docker" / "config.json").unlink()
    assert live(registry.host).published


def orphans(host, *recipes, tag=TAG):
    return target(host, tag).orphans("home", recipes, Path("/nowhere"))


@pytest.mark.parametrize("referrers", [True, False])
def test_what_recipes_left_that_are_gone_is_found_and_removed(registry, files, referrers):
    registry.referrers = referrers
    registry.page = 2
    for tag in ("a", "b", "c", "d"):
        put(registry.host, files, recipe=tag, tag=tag)
    found = orphans(registry.host, "a", "b", "d")
    assert [(each.place, each.recipe) for each in found] == [(f"oci://{registry.host}/{NAME}:c", "c")]
    assert set(found[0].unchanged) == set(FILES)
    count = len(repository(registry).manifests)
    target(registry.host).prune(found[0], Path("/nowhere"))
    assert sorted(tag for tag in repository(registry).tags if len(tag) == 1) == ["a", "b", "d"]
    assert len(repository(registry).manifests) == count - (3 if referrers else 4)
    assert orphans(registry.host, "a", "b", "d") == ()
    assert live(registry.host, "a", tag="a").drift == ()


def test_what_another_tag_names_stays(registry, files):
    put(registry.host, files, tag="gone", recipe="gone")
    repository(registry).tags["kept"] = repository(registry).tags["gone"]
    found = [each for each in orphans(registry.host) if each.place.endswith(":gone")]
    registry.tags_deletion = False
    with pytest.raises(PublishError, match="kept names the same artifact"):
        target(registry.host).prune(found[0], Path("/nowhere"))
    registry.tags_deletion = True
    target(registry.host).prune(found[0], Path("/nowhere"))
    assert [*repository(registry).tags] == ["kept"]


def test_a_registry_that_lets_nobody_delete_is_told(registry, files):
    put(registry.host, files)
    registry.deletion = False
    with pytest.raises(PublishError, match="does not allow deletion"):
        target(registry.host).prune(orphans(registry.host)[0], Path("/nowhere"))
    assert live(registry.host).published


def test_what_somebody_changed_is_no_longer_ours_to_remove(registry, files):
    put(registry.host, files)
    data = manifest(registry)
    data["layers"] = data["layers"][:-1]
    content = json.dumps(data).encode()
    repository(registry).manifests[digest_of(content)] = (data["mediaType"], content)
    repository(registry).tags[TAG] = digest_of(content)
    (found,) = orphans(registry.host)
    assert found.unchanged == ()
    target(registry.host).prune(found, Path("/nowhere"))
    assert TAG in repository(registry).tags


def test_a_recipe_says_repository_and_tag():
    made = OciTarget(kind="oci", repository="ghcr.io/me/ink", tag="v1")
    assert made.reference == "oci://ghcr.io/me/ink:v1"
    assert made.address(Path()) != OciTarget(kind="oci", repository="ghcr.io/me/ink", tag="v2").address(Path())
    for wrong in ("ink", "ghcr.io/Me/ink", "user:secret@ghcr.io/me/ink", "ghcr.io/me/ink:v1"):
        with pytest.raises(ValueError, match="repository"):
            OciTarget(kind="oci", repository=wrong, tag="v1")
    for wrong in ("", "a b", "sha256:00", "-a", "a" * 129):
        with pytest.raises(ValueError, match="tag"):
            OciTarget(kind="oci", repository="ghcr.io/me/ink", tag=wrong)


def test_the_registry_takes_chunks_as_the_specification_says(registry, tmp_path):
    """That the registry of these tests is one, by oras' own upload in chunks."""
    assert isinstance(registry, Registry)
    client = oras.client.OrasClient(insecure=True)
    container = client.get_container(f"{registry.host}/tester/chunks:v1")
    path = tmp_path / "large"
    path.write_bytes(bytes(10_000))
    layer = {"digest": digest_of(path.read_bytes()), "size": path.stat().st_size}
    assert client.chunked_upload(str(path), container, layer, chunk_size=4096).status_code == 201
    assert client.blob_exists(layer, container)
