"""Runs that are killed with SIGKILL: what they leave is the old or the new one, whole, and the next run finishes."""

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import foreign
import killing
import pytest
import tiny
from command_line import write_recipe
from hub.example import OWNER
from hub.faults import Harmless

from loramerge import verify
from loramerge.files.digest import files_of, sha256_of

pytestmark = pytest.mark.long

REPO = "tester/small"
MOMENTS = random.Random(0)


@dataclass(frozen=True)
class Place:
    """A folder with a base, two LoRAs, an artifact, a target of its own and one that holds a file of others."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def recipe(self, weight: float, *, publishing: bool = True) -> Path:
        targets = [
            {"kind": "folder", "path": "own"},
            {"kind": "folder", "path": "shared"},
            {"kind": "hub", "repo": REPO},
        ]
        loras = {"a": {"source": "a.safetensors", "weight": weight}, "b": "b.safetensors"}
        return write_recipe(self.folder, base="base", loras=loras, license="mit", publish=targets if publishing else [])


@pytest.fixture
def place(tmp_path):
    shutil.copytree(tiny.folder("sd15"), tmp_path / "base")
    for seed, name in enumerate("ab"):
        pairs = foreign.random_lora(tiny.shared("sd15"), rank=2, alpha=2.0, seed=seed, modules=r"mid_block.*attn1")
        foreign.write_diffusers(pairs, tmp_path / f"{name}.safetensors")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "theirs.txt").write_text("theirs")
    return Place(tmp_path)


@pytest.fixture(scope="module")
def runs():
    with killing.runs(OWNER) as process:
        yield process


def digests(folder):
    return {name: sha256_of(path) for name, path in files_of(folder).items()}


def published(folder):
    """What a target holds of ours, without what a killed run may leave beside it."""
    names = {name: digest for name, digest in digests(folder).items() if name != "theirs.txt"}
    return {name: digest for name, digest in names.items() if not name.startswith((".", "diffusers/."))}


def on_the_hub(hub):
    """Every file at the head, by the id that git gives to it."""
    repository = hub.store.repositories.get(("model", REPO))
    return {name: blob.git_id for name, blob in repository.resolve("main").files.items()} if repository else {}


def litter(folder):
    return sorted(path.name for path in folder.rglob("*") if path.name.endswith(".partial"))


def entries(files):
    """The files of every top-level entry, which is replaced in one step."""
    found = {}
    for name, digest in files.items():
        found.setdefault(name.partition("/")[0], {})[name] = digest
    return found


@dataclass(frozen=True)
class State:
    """What is where after a run that went well."""

    out: dict
    own: dict
    shared: dict
    hub: dict

    @classmethod
    def of(cls, place, hub):
        folders = (digests(place.out), published(place.folder / "own"), published(place.folder / "shared"))
        return cls(*folders, on_the_hub(hub))


def check(place, hub, old, new):
    """Everything is the old or the new one, whole."""
    assert digests(place.out) in (old.out, new.out)
    verify(place.out)
    assert published(place.folder / "own") in (old.own, new.own)
    for name, files in entries(published(place.folder / "shared")).items():
        assert files in (entries(old.shared).get(name), entries(new.shared).get(name)), name
    assert on_the_hub(hub) in (old.hub, new.hub)
    assert (place.folder / "shared" / "theirs.txt").read_text() == "theirs"
    for target in (place.folder / "own", place.folder / "shared"):
        receipt = json.loads((target / ".loramerge" / "small.json").read_text())
        present = digests(target)
        assert all(present[name] == digest for name, digest in receipt["files"].items())


def states(place, hub, runs):
    """The recipes of two versions, what each leaves, and how the change from one to the other went."""
    recipe = place.recipe(1.0)
    runs.run(recipe, place.out)
    one = State.of(place, hub)
    outcome = runs.run(place.recipe(0.5), place.out)
    two = State.of(place, hub)
    assert not litter(place.folder)
    assert one.out != two.out
    return {1.0: one, 0.5: two}, outcome


def finish(place, hub, runs, weight, new):
    """The next run finishes what the killed one began, and leaves no litter."""
    assert not runs.run(place.recipe(weight), place.out).killed
    assert State.of(place, hub) == new
    assert not litter(place.folder)


def test_at_random_moments(hub, place, runs):
    known, undisturbed = states(place, hub, runs)
    killed, weight = 0, 0.5
    for _ in range(24):
        old, weight = known[weight], 1.5 - weight
        for _ in range(4):  # one upon the other
            by_event = {"event": MOMENTS.randrange(len(undisturbed.events))}
            by_time = {"seconds": MOMENTS.uniform(0, undisturbed.seconds)}
            outcome = runs.run(place.recipe(weight), place.out, **MOMENTS.choice([by_event, by_event, by_time]))
            check(place, hub, old, known[weight])
            if not outcome.killed:  # what is done already takes fewer steps
                break
            killed += 1
        finish(place, hub, runs, weight, known[weight])
        if killed >= 24:
            break
    assert killed >= 24


@dataclass(frozen=True)
class Kill(Harmless):
    """The client is killed when its call arrives, or when it was done and before the answer leaves."""

    runs: killing.Runs
    done: bool

    @property
    def acts(self):
        return self.done

    def spoil(self, answer):
        self.runs.kill()
        return answer


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_at_every_call_that_writes_to_the_hub(hub, place, runs, done):
    known, _ = states(place, hub, runs)
    calls = ["/preupload/", "/info/lfs/objects/batch", "/_upload/", "/commit/"]
    assert {each for each in calls if any(each in call.path for call in hub.log)} == {*calls}
    weight = 0.5
    for call in calls:
        hub.store.large_files.clear()  # as if the weights had never been uploaded
        old, weight = known[weight], 1.5 - weight
        hub.inject("PUT" if "_upload" in call else "POST", call, Kill(runs, done))
        outcome = runs.run(place.recipe(weight), place.out)
        assert outcome.killed, call
        assert on_the_hub(hub) == (known[weight] if done and call == "/commit/" else old).hub
        check(place, hub, old, known[weight])
        finish(place, hub, runs, weight, known[weight])


def tagged(registry):
    """What the tag names, whole: name → digest; nothing where there is none."""
    kept = registry.repositories.get("tester/small")
    if kept is None or "v1" not in kept.tags:
        return {}
    layers = json.loads(kept.manifests[kept.tags["v1"]][1])["layers"]
    assert all(layer["digest"] in kept.blobs for layer in layers)
    return {layer["annotations"]["org.cncf.model.filepath"]: layer["digest"] for layer in layers}


def test_at_every_call_that_writes_to_a_registry(registry, place, runs):
    target = {"kind": "oci", "repository": f"{registry.host}/tester/small", "tag": "v1"}

    def recipe(weight):
        loras = {"a": {"source": "a.safetensors", "weight": weight}, "b": "b.safetensors"}
        return write_recipe(place.folder, base="base", loras=loras, license="mit", publish=[target])

    known, weight = {}, 0.5
    for each in (1.0, 0.5):
        runs.run(recipe(each), place.out)
        known[each] = tagged(registry)
    calls = ["POST /uploads/", "PUT /uploads/", "PUT /manifests/sha256:", "PUT /manifests/v1"]
    for call in calls:
        for done in (False, True):
            kept = registry.repositories["tester/small"]
            now = {*tagged(registry).values()}
            kept.blobs = {digest: blob for digest, blob in kept.blobs.items() if digest in now}
            kept.manifests = {kept.tags["v1"]: kept.manifests[kept.tags["v1"]]}
            old, weight = known[weight], 1.5 - weight
            registry.inject(*call.split(), Kill(runs, done))
            assert runs.run(recipe(weight), place.out).killed, call
            assert tagged(registry) == (known[weight] if done and call.endswith("v1") else old)
            assert not runs.run(recipe(weight), place.out).killed
            assert tagged(registry) == known[weight]


def test_the_first_run(place, runs):
    recipe = place.recipe(1.0, publishing=False)
    events = runs.run(recipe, place.out).events
    new = digests(place.out)
    for event in (0, len(events) // 2, len(events) - 2):
        shutil.rmtree(place.out)
        assert runs.run(recipe, place.out, event=event).killed
        assert not place.out.exists() or digests(place.out) == new
        assert not runs.run(recipe, place.out).killed
        assert digests(place.out) == new
        assert not litter(place.folder)


def test_where_folders_can_not_be_exchanged(place, runs):
    recipe = place.recipe(1.0, publishing=False)
    runs.run(recipe, place.out, exchange=False)
    one = digests(place.out)
    outcome = runs.run(place.recipe(0.5, publishing=False), place.out, exchange=False)
    two = digests(place.out)
    first = outcome.events.index("os.rename")
    weight, known = 0.5, {1.0: one, 0.5: two}
    for event in range(first, len(outcome.events)):
        old, weight = known[weight], 1.5 - weight
        assert runs.run(place.recipe(weight, publishing=False), place.out, event=event, exchange=False).killed
        assert not place.out.exists() or digests(place.out) in (old, known[weight])
        assert not runs.run(place.recipe(weight, publishing=False), place.out, exchange=False).killed
        assert digests(place.out) == known[weight]
        assert not litter(place.folder)


def test_two_runs_at_once(hub, place, runs):
    known, _ = states(place, hub, runs)
    with killing.runs(OWNER) as others:
        recipe = place.recipe(1.0)
        others.start(recipe, place.out)
        runs.start(recipe, place.out)
        assert not others.wait().killed
        assert not runs.wait().killed
    assert State.of(place, hub) == known[1.0]
    assert not litter(place.folder)
