"""A disk that is full, read-only or mounted where we write: told in words, nothing lost, nothing half there."""

import math
import os
import resource
import shutil
import subprocess
import sys

import foreign
import forked
import pytest
import tiny
from command_line import invoke, process, write_recipe

from loramerge import verify
from loramerge.files.digest import files_of, sha256_of

pytestmark = pytest.mark.long

PAGE = 4096
SCRIPT = """
mount -t tmpfs -o size="$SIZE" none "$DISK" && cp -a "$BEFORE"/. "$DISK"/ || exit 99
if [ -n "$READ_ONLY" ]; then mount -o remount,ro "$DISK" || exit 99; fi
"$@"
code=$?
cp -a "$DISK"/. "$AFTER"/
exit $code
"""
UNSHARE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


def has_namespaces():
    try:
        done = subprocess.run([*UNSHARE, "mount -t tmpfs none /mnt"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


needs_a_disk = pytest.mark.skipif(not has_namespaces(), reason="a file system of its own can't be mounted here")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a base and two LoRAs."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny.folder("sd15"), tmp_path / "base")
    for seed, name in enumerate("ab"):
        pairs = foreign.random_lora(tiny.shared("sd15"), rank=16, alpha=2.0, seed=seed, modules=r"mid_block.*attn1")
        foreign.write_diffusers(pairs, tmp_path / f"{name}.safetensors")
    return tmp_path


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """Where the small file system is seen; what is on it at first, and in the end."""
    for name in ("disk", "before", "after"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name.upper(), str(tmp_path / name))
    return tmp_path / "disk"


def recipe(folder, weight=1.0, **more):
    loras = {"a": {"source": "a.safetensors", "weight": weight}, "b": "b.safetensors"}
    return write_recipe(folder, base="base", loras=loras, license="mit", **more)


def run_on(disk, *arguments, free, read_only=False, **env):
    """Run the program with so many free bytes on a file system that holds what `before` does."""
    used = sum(math.ceil(path.stat().st_size / PAGE) * PAGE for path in files_of(disk.with_name("before")).values())
    settings = {**os.environ, "SIZE": str(used + free), "READ_ONLY": "1" if read_only else "", **env}
    words = [*map(str, arguments), "--device", "cpu"]
    if env:  # comes too late for a fork
        program = [*UNSHARE, SCRIPT, "sh", sys.executable, "-m", "loramerge", *words]
        return subprocess.run(program, env=settings, capture_output=True, text=True, check=False)
    mounted = [*UNSHARE, SCRIPT, "sh", "sh", "-c", 'echo mounted; read -r code; exit "$code"']
    with subprocess.Popen(mounted, env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as place:
        assert place.stdout.readline() == "mounted\n"
        done = forked.run(*words, inside=place.pid)
        place.communicate(f"{done.returncode}\n")
    assert place.returncode == done.returncode
    return done


def digests(folder):
    return {name: sha256_of(path) for name, path in files_of(folder).items()}


@needs_a_disk
@pytest.mark.parametrize(
    ("free", "read_only", "reason"),
    [(2 * PAGE, False, "No space left on device"), (0, True, "Read-only")],
)
def test_the_artifact_s_place(folder, disk, free, read_only, reason):
    before = folder / "before" / "small"
    invoke("run", recipe(folder), "--out", before, "--device", "cpu")
    done = run_on(disk, "run", recipe(folder, 0.5), "--out", disk / "small", free=free, read_only=read_only)
    assert done.returncode == 1, done.stderr
    assert f"error: {disk}" in done.stderr
    assert f"can't be written: {reason}" in done.stderr
    assert digests(folder / "after") == digests(folder / "before")
    verify(folder / "after" / "small")


@needs_a_disk
@pytest.mark.parametrize(
    ("free", "read_only", "reason"),
    [(2 * PAGE, False, "No space left on device"), (0, True, "Read-only")],
)
@pytest.mark.parametrize("shared", [False, True], ids=["of our own", "with files of others"])
def test_a_target(folder, disk, free, read_only, reason, shared):
    target = folder / "before" / "models"
    target.mkdir(parents=True)
    if shared:
        (target / "theirs.safetensors").write_text("theirs")
    invoke("run", recipe(folder, publish=[{"kind": "folder", "path": str(target)}]), "--device", "cpu")
    assert (target / "pytorch_lora_weights.safetensors").exists()
    publish = [{"kind": "folder", "path": str(disk / "models")}]
    done = run_on(
        disk, "run", recipe(folder, 0.5, publish=publish), "--out", folder / "out", free=free, read_only=read_only
    )
    assert done.returncode == 7, done.stderr
    assert reason in done.stderr
    if read_only:  # which is known before anything is built
        assert f"{disk / 'models'} can't be written: " in done.stderr
        assert not (folder / "out").exists()
    else:
        assert f"publishing to {disk / 'models'} failed: " in done.stderr
        assert "the artifact itself is complete" in done.stderr
        verify(folder / "out")
    name = "models/pytorch_lora_weights.safetensors"
    assert digests(folder / "after")[name] == digests(folder / "before")[name]
    kept = {each for each in files_of(folder / "after") if not each.startswith("models/.loramerge/")}
    assert kept == {each for each in files_of(folder / "before") if not each.startswith("models/.loramerge/")}


@needs_a_disk
@pytest.mark.parametrize("ours", [False, True], ids=["empty", "of our own"])
def test_a_target_that_is_a_file_system_of_its_own(folder, disk, ours):
    if ours:
        publish = [{"kind": "folder", "path": str(folder / "before")}]
        invoke("run", recipe(folder, publish=publish), "--device", "cpu")
    publish = [{"kind": "folder", "path": str(disk)}]
    done = run_on(disk, "run", recipe(folder, 0.5, publish=publish), "--out", folder / "out", free=100 * PAGE)
    assert done.returncode == 0, done.stderr
    name = "pytorch_lora_weights.safetensors"
    assert digests(folder / "after")[name] == digests(folder / "out" / "diffusers")[name]
    assert not [path for path in files_of(folder / "after") if path.endswith(".partial")]


@needs_a_disk
def test_the_hub_s_cache_that_is_read_only(hub, folder, disk):
    hub.repository("me/a", {"a.safetensors": (folder / "a.safetensors").read_bytes()})
    remote = write_recipe(folder, base="base", loras={"a": "hf://me/a/a.safetensors"})
    done = run_on(disk, "run", remote, free=0, read_only=True, HF_HUB_CACHE=str(disk / "hub"))
    assert done.returncode == 4, done.stderr
    assert "Read-only file system" in done.stderr
    assert "HF_HUB_CACHE" in done.stderr
    assert "defect" not in done.stderr


@needs_a_disk
def test_the_hub_s_cache(hub, folder, disk):
    hub.repository("me/a", {"a.safetensors": (folder / "a.safetensors").read_bytes()})
    remote = write_recipe(folder, base="base", loras={"a": "hf://me/a/a.safetensors"})
    done = run_on(disk, "run", remote, free=PAGE, HF_HUB_CACHE=str(disk / "hub"))
    assert done.returncode == 4, done.stderr
    assert f"hf://me/a/a.safetensors: can't keep the file in {disk / 'hub'}: No space left on device" in done.stderr
    assert "HF_HUB_CACHE" in done.stderr
    assert not (folder / "dist").exists()
    assert not [path for path in files_of(folder / "after").values() if path.suffix == ".safetensors"]


def test_files_that_may_not_grow(folder):
    out = folder / "out"
    invoke("run", recipe(folder), "--out", out, "--device", "cpu")
    before = digests(out)
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE, PAGE))}
    done = process("run", recipe(folder, 0.5), "--out", out, "--device", "cpu", **limit)
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert digests(out) == before
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []
