"""What the sources of a recipe are, written down, and how a run is held to it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import foreign
import pytest
import tiny
from canonical import files_of
from command_line import invoke
from hub.environment import CACHE
from safetensors import safe_open
from secrets_scan import on_purpose

from loramerge import load_base, lock_sources, plan, read_recipe, run, verify
from loramerge.documents import yaml_document
from loramerge.errors import ExitCode, InvalidRecipeError, SourceError
from loramerge.lock import model as locks
from loramerge.lock.changes import changes
from loramerge.stages.load import load
from loramerge.stages.resolve import resolve

pytestmark = pytest.mark.slow

SCHEDULER = "scheduler/scheduler_config.json"
BASE, INK, GLOW = "org/base", "org/ink", "org/glow"
CONFIGS = ["model_index.json", SCHEDULER, "text_encoder/config.json", "unet/config.json"]
CARD = b"---\nlicense: other\nlicense_name: ink-licence\n---\n# Ink\n"


def lora(folder, seed, name="lora.safetensors"):
    pairs = foreign.random_lora(tiny.shared("sd15"), seed=seed, rank=4, alpha=2.0, few=True)
    return foreign.write_diffusers(pairs, folder / name)


def base_files():
    return {name: (tiny.folder("sd15") / name).read_bytes() for name in files_of(tiny.folder("sd15"))}


@pytest.fixture
def published(hub, tmp_path):
    """A base and two LoRAs on the Hub."""
    hub.repository(BASE, {**base_files(), "README.md": b"---\nlicense: openrail\n---\n"})
    hub.repository(INK, {"ink.safetensors": lora(tmp_path, 0).read_bytes(), "README.md": CARD})
    hub.repository(GLOW, {"glow.safetensors": lora(tmp_path, 1).read_bytes()})
    return hub


def repository(hub, name):
    return hub.store.repositories["model", name]


def write_recipe(folder, **changed):
    data = {
        "version": 1,
        "name": "two",
        "base": {"source": f"hf://{BASE}"},
        "loras": [
            {"name": "ink", "source": f"hf://{INK}/ink.safetensors", "revision": "main"},
            {"name": "glow", "source": f"hf://{GLOW}"},
        ],
        "merge": {"combination_type": "cat", "engine": "factored"},
        "outputs": [{"kind": "adapter", "format": "diffusers"}],
        "report": "brief",
    }
    path = folder / "two.yaml"
    path.write_text(yaml_document.dump(data | changed))
    return path


@pytest.fixture
def recipe(published, tmp_path):
    return read_recipe(write_recipe(tmp_path))


@pytest.fixture
def on_disk(tmp_path):
    """A recipe whose sources are all paths."""
    lora(tmp_path, 0, "ink.safetensors")
    sources = {"base": {"source": str(tiny.folder("sd15"))}, "loras": [{"name": "ink", "source": "ink.safetensors"}]}
    return read_recipe(write_recipe(tmp_path, **sources))


def altered(lock, change):
    """A lock as somebody edited it by hand."""
    data = lock.model_dump(mode="json")
    change(data)
    return locks.Lock.model_validate(data)


def test_everything_that_a_run_uses(recipe, published):
    lock = lock_sources(recipe)
    ink = lock.sources.loras["ink"]
    content = repository(published, INK).resolve("main").files["ink.safetensors"]
    assert (ink.source, ink.revision, ink.commit) == (
        f"hf://{INK}/ink.safetensors",
        "main",
        repository(published, INK).head,
    )
    assert ink.files == {"ink.safetensors": locks.LockedFile(size=content.size, sha256=content.sha256)}
    assert (lock.sources.base.licence, ink.licence, lock.sources.loras["glow"].licence) == (
        "openrail",
        "ink-licence",
        None,
    )
    assert list(lock.sources.base.files) == CONFIGS
    config = lock.sources.base.files["unet/config.json"]
    assert config.sha256 == hashlib.sha256(base_files()["unet/config.json"]).hexdigest()


def test_no_weights_are_downloaded(published, tmp_path):
    published.log.clear()
    lock = lock_sources(read_recipe(write_recipe(tmp_path, outputs=[{"kind": "pipeline"}])))
    assert any(name.endswith(".safetensors") for name in lock.sources.base.files)
    assert not [call for call in published.log if "safetensors" in call.path or "lfs" in call.path]


def test_a_lock_comes_back_as_it_was_written(recipe, tmp_path):
    lock = lock_sources(recipe)
    file = tmp_path / "two.lock.yaml"
    assert locks.place(tmp_path / "two.yaml") == file
    assert (locks.write(lock, file), locks.write(lock, file)) == (True, False)
    assert locks.read(file) == lock
    assert locks.text(locks.read(file)) == file.read_text()
    assert file.read_text().startswith("# Written by `loramerge lock`")
    assert [path.name for path in tmp_path.glob("*.lock*")] == ["two.lock.yaml"]


def test_the_text_is_sorted_whatever_the_order_was(recipe):
    lock = lock_sources(recipe)
    loras = dict(reversed(lock.sources.loras.items()))
    files = dict(reversed(lock.sources.base.files.items()))
    turned = altered(
        lock, lambda data: data["sources"].update(loras={name: data["sources"]["loras"][name] for name in loras})
    )
    turned = altered(
        turned,
        lambda data: data["sources"]["base"].update(files={n: data["sources"]["base"]["files"][n] for n in files}),
    )
    assert locks.text(turned) == locks.text(lock)


def test_paths_have_no_commit_and_no_licence(on_disk):
    lock = lock_sources(on_disk)
    ink = lock.sources.loras["ink"]
    assert (ink.source, ink.commit, ink.licence) == ("ink.safetensors", None, None)
    assert ink.files["ink.safetensors"].size == (on_disk.folder / "ink.safetensors").stat().st_size
    assert "commit" not in locks.text(lock)


def test_a_token_in_an_address_stays_out(tmp_path):
    from loramerge.sources import Located
    from loramerge.stages.resolve import Resolved, ResolvedLora

    address = "https://example.com/ink.safetensors?token=secret"
    file = lora(tmp_path, 0, "ink.safetensors")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    loras = [{"name": "ink", "source": address, "sha256": digest}]
    recipe = read_recipe(on_purpose(write_recipe(tmp_path, loras=loras)))
    base = Located("base", None, ("unet/config.json",), lambda _: tiny.folder("sd15"))
    ink = Located(address, None, ("ink.safetensors",), lambda _: tmp_path)
    loras = (ResolvedLora(recipe.loras[0], ink, ink.files),)
    lock = lock_sources(recipe, Resolved(base, base.files, (), None, loras))
    assert "secret" not in locks.text(lock)
    assert lock.sources.loras["ink"].files["ink.safetensors"].sha256 == digest


def test_a_branch_that_moved_makes_no_difference_to_a_locked_recipe(recipe, published, tmp_path):
    lock = lock_sources(recipe)
    before = repository(published, INK).head
    published.store.write(repository(published, INK), {"ink.safetensors": lora(tmp_path, 7).read_bytes()})
    assert resolve(recipe, lock).loras[0].located.revision == before
    assert resolve(recipe).loras[0].located.revision != before
    result = run(recipe, lock=lock, out=tmp_path / "out")
    assert result.report["loras"][0]["revision"] == before
    assert (tmp_path / "out" / "recipe.lock.yaml").read_text() == locks.text(lock)
    assert next(str(change) for change in changes(lock, lock_sources(recipe))) == (
        f"loras.ink: commit moved from {before} to {repository(published, INK).head}"
    )


def test_a_branch_may_be_gone_once_it_is_locked(published, tmp_path):
    ink = repository(published, INK)
    ink.refs["refs/heads/trial"] = ink.head
    loras = [{"name": "ink", "source": f"hf://{INK}/ink.safetensors", "revision": "trial"}]
    recipe = read_recipe(write_recipe(tmp_path, loras=loras))
    lock = lock_sources(recipe)
    del ink.refs["refs/heads/trial"]
    assert resolve(recipe, lock).loras[0].located.revision == ink.head


def test_a_history_that_was_rewritten(recipe, published):
    lock = lock_sources(recipe)
    ink = repository(published, INK)
    locked = ink.head
    files = ink.resolve("main").files
    ink.commits.clear()
    ink.refs["refs/heads/main"] = ink.commit(files, "squashed")
    with pytest.raises(SourceError, match=f"has no revision {locked}") as raised:
        resolve(recipe, lock)
    assert "lock the recipe again" in raised.value.hint


def test_a_run_without_a_lock_says_what_it_was_made_of(recipe, tmp_path):
    artifact = run(recipe, out=tmp_path / "out").artifact
    assert locks.read(artifact / "recipe.lock.yaml") == lock_sources(recipe)
    subjects = json.loads((artifact / "provenance.json").read_text())["subject"]
    assert "recipe.lock.yaml" in {subject["name"] for subject in subjects}
    assert not (tmp_path / "two.lock.yaml").exists()


@pytest.mark.parametrize("file", ["ink.safetensors", "base/unet/config.json"])
def test_a_file_on_disk_that_changed(file, tmp_path):
    for name, content in base_files().items():
        (tmp_path / "base" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "base" / name).write_bytes(content)
    lora(tmp_path, 0, "ink.safetensors")
    sources = {"base": {"source": "base"}, "loras": [{"name": "ink", "source": "ink.safetensors"}]}
    recipe = read_recipe(write_recipe(tmp_path, **sources))
    lock = lock_sources(recipe)
    changed = tmp_path / file
    before = hashlib.sha256(changed.read_bytes()).hexdigest()
    changed.write_bytes(changed.read_bytes() + b" ")
    with pytest.raises(SourceError, match=r"bytes with sha256 .*, the lock has \d+ bytes") as raised:
        run(recipe, lock=lock, out=tmp_path / "out")
    assert before in raised.value.message
    assert hashlib.sha256(changed.read_bytes()).hexdigest() in raised.value.message
    assert f"`loramerge lock {tmp_path / 'two.yaml'}`" in raised.value.hint
    assert not (tmp_path / "out").exists()


def test_files_that_came_and_went(tmp_path):
    folder = tmp_path / "ink"
    pairs = foreign.random_lora(tiny.shared("sd15"), seed=0, rank=4, alpha=2.0)
    for component, modules in pairs.items():
        foreign.write_peft(modules, folder / component)
    sources = {"base": {"source": str(tiny.folder("sd15"))}, "loras": [{"name": "ink", "source": "ink"}]}
    recipe = read_recipe(write_recipe(tmp_path, **sources))
    lock = lock_sources(recipe)
    (folder / "text_encoder").rename(tmp_path / "aside")
    with pytest.raises(SourceError, match=r"loras.ink \(ink\) lacks text_encoder/adapter_config.json, which the lock"):
        resolve(recipe, lock)
    smaller = lock_sources(recipe)
    (tmp_path / "aside").rename(folder / "text_encoder")
    with pytest.raises(SourceError, match=r"has text_encoder/adapter_config.json, which the lock does not have"):
        resolve(recipe, smaller)
    assert {str(each).partition(": ")[2].partition(" added")[0] for each in changes(smaller, lock)} == {
        "text_encoder/adapter_config.json",
        "text_encoder/adapter_model.safetensors",
    }
    assert all(" removed: it was " in str(each) for each in changes(lock, smaller))


def test_an_adapter_may_be_made_by_a_lock_that_knows_the_weights_as_well(published, tmp_path):
    lock = lock_sources(read_recipe(write_recipe(tmp_path, outputs=[{"kind": "pipeline"}])))
    adapter_only = read_recipe(write_recipe(tmp_path))
    assert resolve(adapter_only, lock).base_names == (
        "model_index.json",
        "unet/config.json",
        "text_encoder/config.json",
        SCHEDULER,
    )
    narrow = lock_sources(adapter_only)
    with pytest.raises(SourceError, match=r"base .* has .*, which the lock does not have"):
        resolve(read_recipe(write_recipe(tmp_path, outputs=[{"kind": "pipeline"}])), narrow)


@pytest.fixture
def predicts_v(tmp_path):
    """A base whose scheduler says so, a recipe for a kohya file, and its lock as earlier versions wrote it."""
    shutil.copytree(tiny.folder("sd15"), tmp_path / "base")
    said = json.loads((tmp_path / "base" / SCHEDULER).read_text()) | {"prediction_type": "v_prediction"}
    (tmp_path / "base" / SCHEDULER).write_text(json.dumps(said))
    pairs = foreign.random_lora(tiny.shared("sd15"), seed=0, rank=4, alpha=2.0, few=True)
    foreign.write_kohya(pairs, tmp_path / "ink.safetensors", metadata={"modelspec.prediction_type": "epsilon"})
    recipe = read_recipe(
        write_recipe(
            tmp_path,
            base={"source": "base"},
            loras=[{"name": "ink", "source": "ink.safetensors"}],
            outputs=[{"kind": "adapter", "format": "kohya"}],
        )
    )
    earlier = altered(lock_sources(recipe), lambda data: data["sources"]["base"]["files"].pop(SCHEDULER))
    return recipe, earlier


def written_prediction(result):
    with safe_open(result.artifact / "kohya" / "two.safetensors", "pt") as file:
        return file.metadata()["modelspec.prediction_type"]


def test_what_the_base_predicts_is_what_its_scheduler_says_and_not_what_a_lora_says(predicts_v, tmp_path):
    recipe, _ = predicts_v
    result = run(recipe, out=tmp_path / "out")
    assert written_prediction(result) == "v"
    (note,) = [note for note in result.report["notes"] if "predicts" in note]
    assert note.startswith("LoRA ink: its model predicts epsilon, by its metadata, and the base v; ")
    again = run(recipe, lock=locks.read(result.artifact / "recipe.lock.yaml"), out=tmp_path / "again")
    assert written_prediction(again) == "v"


def test_a_lock_of_an_earlier_version_holds_and_knows_no_scheduler(predicts_v, tmp_path):
    recipe, earlier = predicts_v
    assert SCHEDULER not in resolve(recipe, earlier).base_names
    result = run(recipe, lock=earlier, out=tmp_path / "out")
    assert written_prediction(result) == "epsilon"
    assert not [note for note in result.report["notes"] if "predicts" in note]
    assert not plan(recipe, lock=earlier, out=tmp_path / "out").pending
    assert verify(result.artifact, rebuild=True, recipe=tmp_path)
    file = locks.place(recipe.path)
    locks.write(earlier, file)
    assert invoke("lock", recipe.path, "--check").exit_code == ExitCode.DONE
    assert "scheduler_config.json added" in invoke("lock", recipe.path).output
    assert SCHEDULER in locks.read(file).sources.base.files


def test_a_scheduler_that_the_lock_has_must_be_there(predicts_v, tmp_path):
    recipe, _ = predicts_v
    lock = lock_sources(recipe)
    (tmp_path / "base" / SCHEDULER).unlink()
    with pytest.raises(SourceError, match=f"base .* lacks {SCHEDULER}, which the lock has"):
        resolve(recipe, lock)
    assert [str(each).partition(": it was")[0] for each in changes(lock, lock_sources(recipe, like=lock))] == [
        f"base: {SCHEDULER} removed"
    ]


@pytest.mark.parametrize("said", ["sample", "epsilon", None])
def test_what_a_scheduler_does_not_say_is_asked_of_the_loras(predicts_v, said, tmp_path):
    (tmp_path / "base" / SCHEDULER).write_text(json.dumps({} if said is None else {"prediction_type": said}))
    assert load_base(tmp_path / "base").prediction == (said if said == "epsilon" else None)
    assert written_prediction(run(predicts_v[0], out=tmp_path / "out")) == "epsilon"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("name=three", "it is of the recipe two"),
        ("loras.0.name=pen", "it has no LoRA pen"),
        ("loras.0.name=pen", "it has a LoRA ink, and the recipe has none"),
        ("loras.0.revision=v2", "loras.ink has the revision v2, the lock has the revision main"),
        ("loras.1.revision=main", "loras.glow has the revision main, the lock has no revision"),
        ("loras.1.source=hf://org/other", "loras.glow has the source hf://org/other, the lock has hf://org/glow"),
        (f"loras.0.sha256={'a' * 64}", f"loras.ink has sha256 {'a' * 64}, the lock has "),
    ],
)
def test_a_lock_of_another_recipe(recipe, published, tmp_path, override, expected):
    lock = lock_sources(recipe)
    published.log.clear()
    with pytest.raises(SourceError, match="the lock does not fit the recipe") as raised:
        resolve(read_recipe(tmp_path / "two.yaml", overrides=[override]), lock)
    assert expected in raised.value.message
    assert "loramerge lock" in raised.value.hint
    assert published.log == []


def test_a_lock_that_was_edited_by_hand(recipe, on_disk, published):
    lock, plain = lock_sources(recipe), lock_sources(on_disk)

    def refused(given, lock, change, message):
        with pytest.raises(SourceError, match=message):
            load(resolve(given, altered(lock, change)))

    ink = lambda data: data["sources"]["loras"]["ink"]  # noqa: E731
    file = lambda data: ink(data)["files"]["ink.safetensors"]  # noqa: E731
    refused(recipe, lock, lambda data: ink(data).update(commit="0" * 40), "has no revision 0000")
    refused(recipe, lock, lambda data: ink(data).update(commit=None), "is at commit .*, the lock has no commit")
    refused(recipe, lock, lambda data: file(data).update(sha256="0" * 64), "the lock has .* with sha256 0000")
    refused(recipe, lock, lambda data: file(data).update(size=1), "the lock has 1 bytes")
    refused(on_disk, plain, lambda data: ink(data).update(commit="0" * 40), "is at no commit, the lock has commit 0000")
    config = lambda data: data["sources"]["base"]["files"]["unet/config.json"]  # noqa: E731
    refused(recipe, lock, lambda data: config(data).update(sha256="0" * 64), "unet/config.json has .* sha256 0000")


def test_a_commit_that_the_recipe_pins_is_the_lock_s(published, tmp_path):
    pinned = repository(published, INK).head
    loras = [{"name": "ink", "source": f"hf://{INK}/ink.safetensors", "revision": pinned}]
    recipe = read_recipe(write_recipe(tmp_path, loras=loras))
    lock = lock_sources(recipe)
    moved = published.store.write(repository(published, INK), {"README.md": b"new"})
    other = altered(lock, lambda data: data["sources"]["loras"]["ink"].update(commit=moved))
    with pytest.raises(SourceError, match=f"has commit {pinned}, the lock has commit {moved}"):
        resolve(recipe, other)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("version: 1", "version: 2", ":2:10: version: found the number 2; expected 1"),
        ("    source: hf://org/base", "    sauce: hf://org/base", ":6:5: sources.base.sauce: unknown key"),
        ("        size: ", "        size: -", "; expected a whole number of at least 0"),
        ("    commit: ", "    commit: x", "expected a commit: 40 digits from 0-9 and a-f"),
        ("      unet/config.json:", "      unet//config.json:", "the name of a file within its source"),
        ("recipe: two", "recipe: two\nrecipe: two", ":4:1: recipe: this key is given twice, first at 3:1"),
    ],
)
def test_a_lock_that_is_none(recipe, tmp_path, old, new, expected):
    file = tmp_path / "two.lock.yaml"
    text = locks.text(lock_sources(recipe))
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidRecipeError) as raised:
        locks.read(file)
    assert str(file) in raised.value.message
    assert expected in raised.value.message
    assert "`loramerge lock`" in raised.value.hint


@pytest.mark.parametrize("content", ["", "[]", "version: [\n"])
def test_a_file_that_is_no_lock_at_all(tmp_path, content):
    (tmp_path / "two.lock.yaml").write_text(content)
    with pytest.raises(InvalidRecipeError, match=r"two\.lock\.yaml:\d"):
        locks.read(tmp_path / "two.lock.yaml")


SCRIPT = """
import sys
from pathlib import Path
from loramerge import read_lock, read_recipe, run
run(read_recipe(sys.argv[1]), lock=read_lock(sys.argv[2]), out=Path(sys.argv[3]))
"""


def offline(*arguments):
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_a_locked_recipe_runs_offline_without_any_request(recipe, published, tmp_path):
    lock = lock_sources(recipe)
    locks.write(lock, tmp_path / "two.lock.yaml")
    arguments = (tmp_path / "two.yaml", tmp_path / "two.lock.yaml")
    online = run(recipe, lock=lock, out=tmp_path / "online").artifact
    published.log.clear()
    assert offline(*arguments, tmp_path / "offline").returncode == 0
    assert published.log == []
    names = ["diffusers/pytorch_lora_weights.safetensors", "recipe.lock.yaml", "recipe.yaml"]
    assert [(tmp_path / "offline" / n).read_bytes() for n in names] == [(online / n).read_bytes() for n in names]


def test_offline_what_was_never_downloaded_is_missed(recipe, published, tmp_path):
    locks.write(lock_sources(recipe), tmp_path / "two.lock.yaml")
    published.log.clear()
    done = offline(tmp_path / "two.yaml", tmp_path / "two.lock.yaml", tmp_path / "out")
    assert done.returncode == 1
    assert "SourceError" in done.stderr
    assert "offline" in done.stderr
    assert published.log == []
    assert not (tmp_path / "out").exists()


def test_offline_a_spoiled_cache_is_noticed(recipe, published, tmp_path):
    lock = lock_sources(recipe)
    locks.write(lock, tmp_path / "two.lock.yaml")
    run(recipe, lock=lock, out=tmp_path / "online")
    (blob,) = Path(CACHE).rglob("ink.safetensors")
    blob.resolve().write_bytes(b"x" * blob.stat().st_size)
    done = offline(tmp_path / "two.yaml", tmp_path / "two.lock.yaml", tmp_path / "out")
    assert "ink.safetensors has" in done.stderr
    assert "the lock has" in done.stderr
