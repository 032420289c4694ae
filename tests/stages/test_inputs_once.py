"""A run reads every input once for its digest, and merges what it hashed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections import Counter
from pathlib import Path

import foreign
import pytest
import single_files
import tiny
from command_line import invoke, listing, write_recipe

from loramerge import plan, read_recipe
from loramerge.errors import ExitCode
from loramerge.files import file_view, kept_digests
from loramerge.files.digest import sha256_of
from loramerge.stages import papers
from loramerge.tensor_files.passing import Passing

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two LoRAs of the same size."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("ink", "other")):
        pairs = foreign.random_lora(
            tiny.shared("sd15"), rank=2, alpha=2.0, seed=seed, components=["unet"], modules=r"attn2\.to_k"
        )
        foreign.write_diffusers(pairs, tmp_path / f"{name}.safetensors")
    return tmp_path


def recipe(folder, **more):
    return write_recipe(folder, base=tiny.folder("sd15"), loras={"ink": "ink.safetensors"}, **more)


@pytest.fixture
def read(monkeypatch):
    """What is hashed in a pass of its own, and how many bytes behind its header are read of each file besides."""
    hashed, passed, counting = [], Counter(), threading.Lock()
    in_a_pass_of_its_own, read_into = file_view.FileBytes._hashed, file_view.FileBytes.read_into

    def counted(file, buffer, offset):
        size = max(offset + len(buffer) - max(offset, header_of(file.path)), 0)
        with counting:
            passed[file.path] += size
        read_into(file, buffer, offset)

    monkeypatch.setattr(
        file_view.FileBytes, "_hashed", lambda file: hashed.append(file.path) or in_a_pass_of_its_own(file)
    )
    monkeypatch.setattr(file_view.FileBytes, "read_into", counted)
    monkeypatch.setattr(file_view, "_UNSETTLED", -1)
    monkeypatch.setattr(file_view, "_digests", {})
    return hashed, passed


def header_of(path):
    """Bytes of a file that are no tensor's."""
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def inputs_of(artifact):
    said = json.loads((artifact / "provenance.json").read_text())["predicate"]["buildDefinition"]
    return {each["name"]: each["digest"]["sha256"] for each in said["resolvedDependencies"]}


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("outputs", [["float16"], [None], [None, "bfloat16"]])
def test_every_byte_of_a_base_is_read_once_for_its_digest_and_what_is_made_of_it(outputs, locked, folder, read):
    hashed, passed = read
    path = recipe(
        folder, outputs=[{"kind": "model", "name": f"m{number}", **({"dtype": dtype} if dtype else {})}
                         for number, dtype in enumerate(outputs)]
    )  # fmt: skip
    if locked:
        assert invoke("lock", path).exit_code == ExitCode.DONE
        file_view._digests.clear()
        hashed.clear()
        passed.clear()
    done = invoke("run", path)
    assert done.exit_code == ExitCode.DONE, done.output
    base, inputs = tiny.folder("sd15"), inputs_of(folder / "dist/small")
    weights = {each for each in base.rglob("*.safetensors") if each.relative_to(base).as_posix() in inputs}
    assert weights
    assert not weights & {*hashed}
    assert len(hashed) == len({*hashed}) == len(inputs) - len(weights)
    for each in weights:
        assert passed[each] == each.stat().st_size - header_of(each)
    for name, digest in inputs.items():
        assert digest == sha256_of((folder if name == "ink.safetensors" else base) / name)


def test_a_recipe_without_fused_outputs_hashes_every_input_once(folder, read):
    hashed, _ = read
    assert invoke("run", recipe(folder)).exit_code == ExitCode.DONE
    inputs = inputs_of(folder / "dist/small")
    assert sorted(each.name for each in hashed) == sorted(Path(name).name for name in inputs)


def test_a_plan_of_what_was_never_made_hashes_no_base(folder, read):
    hashed, passed = read
    path = recipe(folder, outputs=[{"kind": "model"}])
    planned = plan(read_recipe(path))
    assert (planned.artifact.action, planned.lock) == ("build", None)
    assert "ink.safetensors" in {each.name for each in hashed}
    assert [each for each in hashed if each.name.endswith("model.safetensors")] == []
    assert {count for each, count in passed.items() if each.name.endswith("model.safetensors")} == {0}
    assert invoke("run", path).exit_code == ExitCode.DONE
    again = plan(read_recipe(path))
    assert (again.artifact.action, again.lock.sources.base is not None) == ("none", True)


@pytest.fixture
def own_base(folder):
    """A base that a test may change, and a recipe of a model made of it."""
    shutil.copytree(tiny.folder("sd15"), folder / "base")
    path = write_recipe(folder, base="base", loras={"ink": "ink.safetensors"}, outputs=[{"kind": "model"}])
    return folder / "base", path


def spoilt(file):
    """Change the last byte of a file."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"]
)
@pytest.mark.parametrize("known", [False, True])
def test_a_base_that_is_not_the_locked_one_is_refused_and_nothing_is_written(known, name, own_base, folder, read):
    hashed, _ = read
    base, path = own_base
    assert invoke("lock", path).exit_code == ExitCode.DONE
    spoilt(base / name)
    if known:  # refused before anything is made
        file_view.digest_of(base / name, "it")
    before, hashed[:] = listing(folder), []
    result = invoke("run", path)
    assert result.exit_code == ExitCode.BAD_SOURCE
    said = " ".join(result.stderr.split())
    assert f"base (base): {name} has" in said
    assert f"with sha256 {sha256_of(base / name)}, the lock has" in said
    assert "if that is meant to be, `loramerge lock" in said
    assert listing(folder) == before
    assert base / name not in hashed


def test_a_base_of_another_size_than_the_locked_one_is_refused_at_once(own_base, folder, read):
    _, passed = read
    base, path = own_base
    assert invoke("lock", path).exit_code == ExitCode.DONE
    place = base / "unet/diffusion_pytorch_model.safetensors"
    os.truncate(place, place.stat().st_size - 1)
    passed.clear()
    result = invoke("run", path)
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "the lock has" in result.stderr
    assert not (folder / "dist").exists()
    assert not passed[place]


def test_a_file_that_is_not_the_promised_one_is_refused_and_nothing_is_written(folder, read):
    config = tiny.folder("sd15")
    file = single_files.write(single_files.checkpoint("sd15", config), folder / "base.safetensors")
    path = write_recipe(folder, base="x", loras={"ink": "ink.safetensors"}, outputs=[{"kind": "model"}])
    promised = sha256_of(file)
    path.write_text(
        path.read_text().replace("source: x\n", f"source: base.safetensors\n  config: {config}\n  sha256: {promised}\n")
    )
    assert invoke("run", path).exit_code == ExitCode.DONE
    assert inputs_of(folder / "dist/small")["base.safetensors"] == promised
    shutil.rmtree(folder / "dist")
    spoilt(file)
    result = invoke("run", path)
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "base.safetensors: the file is not the one that was promised" in result.stderr
    assert f"expected {promised}" in " ".join(result.stderr.split())
    assert not (folder / "dist").exists()
    hashed, passed = read
    assert file not in hashed
    passed.clear()
    result = invoke("run", path)  # known by now
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert not passed[file]


def test_a_base_that_is_changed_while_it_is_fused_is_refused(own_base, folder, monkeypatch):
    base, path = own_base
    place = base / "unet/diffusion_pytorch_model.safetensors"
    passed = Passing.passed

    def changing(self, *given):
        if place.read_bytes()[-1:] != b"x":
            place.write_bytes(place.read_bytes()[:-1] + b"x")
        passed(self, *given)

    monkeypatch.setattr(Passing, "passed", changing)
    result = invoke("run", path)
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "was changed while it was read" in result.stderr
    assert not (folder / "dist").exists()


def test_weights_that_are_copied_are_not_hashed_again(folder, monkeypatch):
    found = []
    monkeypatch.setattr(papers, "sha256_of", lambda path: found.append(path.name) or sha256_of(path))
    assert invoke("run", recipe(folder, outputs=[{"kind": "pipeline"}])).exit_code == ExitCode.DONE
    assert "model_index.json" in found
    assert [each for each in found if each.endswith(".safetensors")] == []
    assert invoke("verify", folder / "dist/small").exit_code == ExitCode.DONE


@pytest.fixture
def later_run(monkeypatch, tmp_path):
    """Begins as a program does that knows what earlier ones kept; returns what is hashed from then on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_view, "_UNSETTLED", -1)
    monkeypatch.setattr(kept_digests, "LEAST", 1)
    hashed = file_view.FileBytes._hashed
    found = []
    monkeypatch.setattr(file_view.FileBytes, "_hashed", lambda file: found.append(file.path) or hashed(file))

    def begin():
        for known in ("_digests", "_from_entries", "_damaged"):
            monkeypatch.setattr(file_view, known, {})
        found.clear()
        return found

    return begin


def test_what_did_not_change_is_not_hashed_by_a_later_run(folder, later_run):
    path = recipe(folder, outputs=[{"kind": "pipeline"}])
    later_run()
    first, *_ = json.loads(invoke("run", path, "--json").stdout)
    assert first["hashed_before"] == []
    artifact = listing(folder / "dist/small")
    hashed = later_run()
    again, *_ = json.loads(invoke("run", path, "--json", "--rebuild").stdout)
    inputs = json.loads(artifact["provenance.json"])["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert (len(again["hashed_before"]), again["warnings"]) == (len(inputs), first["warnings"])
    assert [each for each in hashed if not each.is_relative_to(folder / "dist")] == []
    assert listing(folder / "dist/small") == artifact  # whatever the cache knew
    later_run()
    result = invoke("run", path, "--rebuild")
    assert f"{len(inputs)} files unchanged since an earlier run hashed it" in result.stdout
    assert "--verify-inputs reads them again" in result.stdout


@pytest.mark.parametrize("command", ["run", "plan", "lock"])
def test_verify_inputs_hashes_every_input(command, folder, later_run):
    path = recipe(folder)
    later_run()
    assert invoke("run", path).exit_code == ExitCode.DONE
    hashed = later_run()
    assert invoke(command, path, "--verify-inputs").exit_code == ExitCode.DONE
    assert folder / "ink.safetensors" in hashed
    assert "config.json" in {each.name for each in hashed}


def test_an_artifact_that_nobody_touched_is_not_hashed_by_a_plan_and_hashed_by_verify(folder, later_run):
    path = recipe(folder)
    merged = folder / "dist/small/diffusers/pytorch_lora_weights.safetensors"
    later_run()
    assert invoke("run", path).exit_code == ExitCode.DONE
    assert invoke("plan", path).exit_code == ExitCode.DONE
    hashed = later_run()
    assert invoke("plan", path).exit_code == ExitCode.DONE
    assert merged not in hashed
    assert invoke("verify", folder / "dist/small").exit_code == ExitCode.DONE
    assert merged in hashed
    content = bytearray(merged.read_bytes())
    content[-1] ^= 1
    merged.write_bytes(content)
    later_run()
    assert "files that were changed since they were made: diffusers/" in invoke("plan", path).stderr


def test_a_damaged_entry_is_said_and_the_file_read(folder, later_run):
    path = recipe(folder)
    later_run()
    assert invoke("run", path).exit_code == ExitCode.DONE
    for entry in (folder / "cache/loramerge/digests").iterdir():
        entry.write_text("{")
    hashed = later_run()
    result = invoke("run", path, "--rebuild")
    assert "LoRA ink: what an earlier run kept of a file's digest is damaged, and the file was read" in result.stderr
    assert folder / "ink.safetensors" in hashed


def test_a_lora_that_is_replaced_by_rename_is_never_merged_under_the_name_of_the_old_one(folder):
    """The other has the same size and time, and the place is taken again and again, both ways."""
    place, other = folder / "ink.safetensors", folder / "other.safetensors"
    both = [place.read_bytes(), other.read_bytes()]
    assert len(both[0]) == len(both[1])
    stop = threading.Event()

    def swap():
        turn = 0
        while not stop.wait(0.002):
            turn += 1
            spare = folder / "spare"
            spare.write_bytes(both[turn % 2])
            os.utime(spare, (0, 0))
            spare.replace(place)

    path = recipe(folder)
    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        results = [invoke("run", path, "--out", folder / "out", "--rebuild") for _ in range(3)]
    finally:
        stop.set()
        swapping.join()
    for result in results:
        assert result.exit_code in {ExitCode.DONE, ExitCode.BAD_SOURCE}
        if result.exit_code == ExitCode.BAD_SOURCE:
            said = ("ink.safetensors was changed while it was read", "ink.safetensors has", "ink.safetensors can't be")
            assert any(each in result.stderr for each in said)
    if (folder / "out").exists():  # it says what went in, and that is what comes out when it is made again
        shutil.rmtree(folder / "dist", ignore_errors=True)
        said = json.loads((folder / "out/provenance.json").read_text())["predicate"]["buildDefinition"]
        digest = next(each["digest"]["sha256"] for each in said["resolvedDependencies"] if "ink" in each["name"])
        place.write_bytes(next(each for each in both if hashlib.sha256(each).hexdigest() == digest))
        assert invoke("run", path, "--out", folder / "again").exit_code == ExitCode.DONE
        merged = "diffusers/pytorch_lora_weights.safetensors"
        assert (folder / "again" / merged).read_bytes() == (folder / "out" / merged).read_bytes()


@pytest.mark.parametrize("command", ["plan", "lock", "run"])
def test_a_pointer_is_refused_by_every_command_that_looks_at_sources(command, folder):
    (folder / "ink.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d7a2146" * 8 + "\nsize 184550112\n"
    )
    result = invoke(command, recipe(folder))
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "ink.safetensors is a Git LFS pointer; the file that it stands for has 184,550,112 bytes" in result.stderr
    assert "git lfs pull" in result.stderr


@pytest.mark.parametrize("command", ["plan", "lock"])
def test_a_huge_file_that_is_no_lora_is_refused_at_once(command, folder, monkeypatch):
    found = []
    hashed = file_view.FileBytes._hashed
    monkeypatch.setattr(file_view.FileBytes, "_hashed", lambda file: found.append(file.path.name) or hashed(file))
    os.truncate(folder / "ink.safetensors", 50 << 30)
    result = invoke(command, recipe(folder))
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "ink.safetensors is not a sound safetensors file: its tensors take" in result.stderr
    assert "ink.safetensors" not in found
