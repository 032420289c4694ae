"""What can be wrong with a base into which a merge is fused: a clear error, nothing half-written, nothing lost."""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct

import foreign
import killing
import pytest
import single_files
import small_models
import tiny
from command_line import listing, process, write_recipe

from loramerge import read_recipe, run, verify
from loramerge.errors import SourceError
from loramerge.progress import Silent

pytestmark = pytest.mark.slow

PAGE = resource.getpagesize()
WEIGHTS = {
    "pipeline": "base/unet/diffusion_pytorch_model.safetensors",
    "unet": "base/diffusion_pytorch_model.safetensors",
    "file": "base.safetensors",
    "llama": "base/model.safetensors",
}


@pytest.fixture(params=WEIGHTS)
def kind(request, tmp_path, monkeypatch):
    """A base of a kind, and a LoRA for it."""
    monkeypatch.chdir(tmp_path)
    if request.param == "llama":
        small_models.save("LlamaForCausalLM", tmp_path / "base", weights=True)
        small_models.lora("LlamaForCausalLM", tmp_path / "ink", seed=1)
        return request.param
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2, seed=3, few=True, components=("unet",))
    foreign.write_diffusers(pairs, tmp_path / "ink.safetensors")
    shutil.copytree(tiny.folder("sd15") / ("unet" if request.param == "unet" else ""), tmp_path / "base")
    if request.param == "file":
        single_files.write(single_files.checkpoint("sd15", tmp_path / "base"), tmp_path / "base.safetensors")
    return request.param


def recipe(folder, kind, weight=1.0):
    lora = {"source": "ink" if kind == "llama" else "ink.safetensors", "weight": weight}
    path = write_recipe(folder, base="x", loras={"ink": lora}, outputs=[{"kind": "model"}])
    source = "source: base.safetensors\n  config: ./base\n" if kind == "file" else "source: base\n"
    path.write_text(path.read_text().replace("source: x\n", source))
    return path


class Meanwhile(Silent):
    """Somebody else writes into a file of the base as soon as a stage begins."""

    def __init__(self, stage, file):
        self.stage, self.file = stage, file

    def start(self, task, total):
        del total
        if task == self.stage:
            with self.file.open("r+b") as file:
                file.seek(-4, os.SEEK_END)
                file.write(b"\0\0\0\1")


def test_a_base_that_changes_while_it_is_read(kind, tmp_path):
    path = recipe(tmp_path, kind)
    run(read_recipe(path), out=tmp_path / "out", device="cpu")
    before = listing(tmp_path / "out")
    meanwhile = Meanwhile("merge" if kind == "file" else "write", tmp_path / WEIGHTS[kind])
    with pytest.raises(SourceError, match="was changed while it was read"):
        run(read_recipe(path), out=tmp_path / "out", device="cpu", progress=meanwhile)
    assert listing(tmp_path / "out") == before
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("wrong", ["short", "offsets", "overlap", "length"])
def test_a_base_that_lies_about_itself(kind, tmp_path, wrong):
    file = tmp_path / WEIGHTS[kind]
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    entries = json.loads(data[8 : 8 + size])
    first, second = [name for name in entries if name != "__metadata__"][:2]
    if wrong == "offsets":
        entries[first]["data_offsets"][1] += 64
    if wrong == "overlap":
        entries[first]["data_offsets"] = entries[second]["data_offsets"]
    text = json.dumps(entries).encode()
    changed = struct.pack("<Q", len(text)) + text + data[8 + size :]
    file.write_bytes({"short": data[:-7], "length": b"\xff" * 7 + b"\x7f" + data[8:]}.get(wrong, changed))
    with pytest.raises(SourceError) as caught:
        run(read_recipe(recipe(tmp_path, kind)), out=tmp_path / "out", device="cpu")
    assert file.name in caught.value.message
    assert not (tmp_path / "out").exists()
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("kind", ["file"], indirect=True)
def test_a_file_that_may_not_grow_so_far(kind, tmp_path):
    path = recipe(tmp_path, kind)
    run(read_recipe(path), out=tmp_path / "out", device="cpu")
    before = listing(tmp_path / "out")
    limit = (tmp_path / "base.safetensors").stat().st_size // 2 // PAGE * PAGE
    done = process(
        "run", recipe(tmp_path, kind, 0.5), "--out", tmp_path / "out", "--device", "cpu",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert listing(tmp_path / "out") == before
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["pipeline", "file"], indirect=True)
def test_a_run_that_is_killed(kind, tmp_path):
    """At moments spread over all that it does to files: what is there is the old or the new one, whole."""
    path, out = recipe(tmp_path, kind), tmp_path / "out"
    states = {}
    with killing.runs("") as runs:
        for weight in (1.0, 0.5):
            events = runs.run(recipe(tmp_path, kind, weight), out).events
            states[weight] = listing(out)
        for number, event in enumerate(range(0, len(events), max(len(events) // 10, 1))):
            weight = (1.0, 0.5)[number % 2]
            before = listing(out)
            runs.run(recipe(tmp_path, kind, weight), out, event=event)
            assert listing(out) in (before, states[weight])
            verify(out)
        assert not runs.run(recipe(tmp_path, kind, 0.5), out).killed
    assert listing(out) == states[0.5]
    assert path.exists()
    assert not list(tmp_path.rglob("*.partial"))
