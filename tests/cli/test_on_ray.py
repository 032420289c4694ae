"""`--on ray`: what the workers of a real cluster of two nodes do is what one process does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import foreign
import pytest
import tiny
from canonical import files_of
from command_line import MODELS, PROGRAM, facts, invoke, listing, matrix_of, write_recipe
from drawn import recipe_of
from hub.example import OWNER
from ray_cluster import two_nodes

from loramerge.artifact.environment import versions
from loramerge.cluster.work import work
from loramerge.errors import ExitCode
from loramerge.files.digest import sha256_of

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def cluster():
    with two_nodes(HF_TOKEN=OWNER) as found:
        yield found


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(matrix_of("[1, 2, 3, 4, 5, 6]"))
    return tmp_path


@pytest.fixture
def on_cluster(here, cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return here


def begun(*arguments):
    """A command that runs."""
    command = [PROGRAM, *arguments, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_until(there):
    end = time.monotonic() + 120
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def provenance(here):
    found = here.glob("dist/[!.]*/provenance.json")  # and not of one that is being written
    return {each.parent.name: each.stat().st_mtime_ns for each in found}


def test_a_killed_worker_is_done_again_and_what_is_finished_is_not(on_cluster, cluster):
    used = {"made": on_cluster / "dist/m-1/kohya/m-1.safetensors", "glow": MODELS / "glow.safetensors"}
    write_recipe(on_cluster, name="second", base=MODELS / "base", loras=used)
    wrong = {"ink": {"source": str(MODELS / "ink.safetensors"), "rank": 9}, "star": MODELS / "star.safetensors"}
    write_recipe(on_cluster, name="wrong", base=MODELS / "base", loras=wrong)
    process = begun("run", "wrong.yaml", "m.yaml", "second.yaml", "--on", "ray", "-k")
    wait_until((on_cluster / "dist/.m-3.lock.partial").exists)  # Ray names a worker before that says that it has begun
    cluster.worker("ray::loramerge run m-3").kill()
    before = provenance(on_cluster)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == ExitCode.MISMATCH, errors
    failed, *done = json.loads(out)
    assert "LoRA ink should have rank 9" in failed["error"]["message"]
    assert [each["name"] for each in done] == [*(f"m-{number}" for number in range(1, 7)), "second"]
    assert {each["status"] for each in done} == {"built"}
    assert [
        each["name"] for each in done if any("was lost, and it was done again" in said for said in each["warnings"])
    ] == ["m-3"]
    after = provenance(on_cluster)
    assert {name: after[name] for name in before if name != "m-3"} == {n: t for n, t in before.items() if n != "m-3"}
    made = listing(on_cluster / "dist")
    assert {name for name in made if name[0] == "." and "/" not in name} == {".loramerge"}
    again = invoke("run", "m.yaml", "second.yaml", "--on", "ray")
    assert again.stdout.count("up to date") == 7
    assert provenance(on_cluster) == after
    assert invoke("run", "m.yaml", "second.yaml", "--rebuild").exit_code == ExitCode.DONE
    assert listing(on_cluster / "dist") == made


def test_an_interrupt_leaves_nothing_half_done(on_cluster):
    Path("m.yaml").write_text(matrix_of(str([*range(1, 25)])))
    process = begun("run", "m.yaml", "--on", "ray", "-k")
    wait_until(lambda: len(provenance(on_cluster)) >= 2)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == ExitCode.INTERRUPTED, errors
    assert "Traceback" not in errors
    done = json.loads(out)
    assert len(done) == 24
    assert {each["status"] for each in done} <= {"built", "failed", "not started"}
    assert "not started" in {each["status"] for each in done}
    assert {each["error"]["exit_code"] for each in done if "error" in each} == {ExitCode.INTERRUPTED}
    there = {each.name for each in (on_cluster / "dist").iterdir()} - {".loramerge"}
    assert {each["name"] for each in done if each["status"] == "built"} <= there == provenance(on_cluster).keys()
    for name in there:
        assert invoke("verify", on_cluster / "dist" / name).exit_code == ExitCode.DONE


def test_trials_are_those_of_one_process(on_cluster):
    weights = {f"loras.{name}.weight": {"from": 0.2, "to": 1.2} for name in ("ink", "star")}
    loras = {name: {"source": str(MODELS / f"{name}.safetensors"), "weight": 1.0} for name in ("ink", "star")}
    for name in ("one", "two"):
        write_recipe(on_cluster, name=name, base=MODELS / "base", loras=loras, search={"vary": weights, "trials": 4})
    one, two = facts("tune", "one.yaml"), facts("tune", "two.yaml", "--on", "ray")
    assert (two["best"], two["given"], two["trials"], two["warnings"]) == (one["best"], one["given"], 4, [])


def test_cells_are_those_of_one_process(on_cluster):
    recipe = recipe_of(on_cluster, preview={"seeds": [0], "steps": 1})
    axis = ("--set", "loras.ink.weight=0.7,0.2")
    one = facts("grid", recipe, *axis, "--out", "one")
    several = facts("grid", recipe, *axis, "--out", "several", "--on", "ray")
    assert (several["drawn"], several["warnings"]) == (one["drawn"], one["warnings"])
    assert listing(on_cluster / "several") == listing(on_cluster / "one")
    assert facts("grid", recipe, *axis, "--out", "several")["drawn"] == 0


def test_a_gpu_that_no_node_has_is_not_waited_for(on_cluster):
    (done,) = facts("run", "m.yaml#m-1", "--on", "ray", "--device", "cuda", code=ExitCode.FAILED)
    assert done["error"]["message"] == (
        "m.yaml#m-1 was not finished: no node of the cluster has 1 CPU, 1 GPU, 1.0 GiB of memory, which it needs; "
        "there are 2"
    )


def test_a_node_that_does_not_see_the_folder_ends_it(cluster, monkeypatch):
    if cluster.hidden is None:
        pytest.skip("the system does not let us hide a folder from a process")
    monkeypatch.chdir(cluster.hidden)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    Path("m.yaml").write_text(matrix_of(str([*range(1, 25)])))
    litter = Path("dist", ".loramerge-seen-0.partial")  # of a command that was killed
    litter.parent.mkdir()
    litter.touch()
    result = invoke("run", "m.yaml", "--on", "ray")
    assert result.exit_code == ExitCode.FAILED
    said = f"was not finished: the node {os.uname().nodename} does not see {cluster.hidden / 'm.yaml'}"
    assert said in result.stderr
    assert "hint: let recipes, sources and artifacts lie on storage that all nodes share" in result.stderr
    assert "not started: m.yaml#m-" in result.stderr
    assert "ray" not in result.stdout
    assert not [*Path("dist").glob(".loramerge-*")]


def git(folder, *arguments):
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@localhost")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_results_through_targets_alone(cluster, hub, monkeypatch, tmp_path):
    if cluster.hidden is None:
        pytest.skip("the system does not let us hide a folder from a process")
    base, names = tiny.folder("sd15"), ("one", "two", "three")
    hub.repository("org/base", {name: (base / name).read_bytes() for name in files_of(base)})
    for seed, name in enumerate(("ink", "glow")):
        pairs = foreign.random_lora(tiny.shared("sd15"), seed=seed, rank=2, alpha=2.0)
        file = foreign.write_diffusers(pairs, tmp_path / f"{name}.safetensors")
        hub.repository(f"org/{name}", {"a.safetensors": file.read_bytes()})
    hub.store.tokens[OWNER] = "me"
    folder = cluster.hidden / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    loras = {name: f"hf://org/{name}/a.safetensors" for name in ("ink", "glow")}
    for weight, name in enumerate(names, start=1):
        publish = [{"kind": "hub", "repo": f"me/{name}"}]
        weighed = loras | {"ink": {"source": loras["ink"], "weight": weight / 4}}
        write_recipe(folder, name=name, base="hf://org/base", loras=weighed, publish=publish, license="openrail")
    git(folder, "init", "--quiet")
    git(folder, "remote", "add", "origin", "https://example.org/me/recipes.git")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "Three merges")
    done = facts("run", ".", "--on", "ray", "--no-keep")
    assert [(each["status"], each["artifact"], len(each["published"])) for each in done] == [("built", None, 1)] * 3
    assert not (folder / "dist").exists()
    assert [each["status"] for each in facts("run", ".", "--on", "ray", "--no-keep")] == ["up to date"] * 3
    for name in names:
        repository = hub.store.repositories["model", f"me/{name}"]
        published = repository.commits[repository.head].files
        assert invoke("run", f"{name}.yaml", "--rebuild", "--no-publish").exit_code == ExitCode.DONE
        made = (folder / "dist" / name / "provenance.json").read_bytes()  # which has the digest of every file
        assert b"gitCommit" in made
        assert published["provenance.json"].data == made
    for file in cluster.folder.glob("session_*/logs/**/*"):
        assert not file.is_file() or OWNER.encode() not in file.read_bytes(), file


def test_what_a_worker_looks_at_first(here):
    file = here / "m.yaml"
    same = {str(file): sha256_of(file)}

    def answer(wanted=None, there=None, same=same):
        return [*work(versions() | (wanted or {}), None, there or {}, same, b"not looked at")][1]

    kind, said, hint, _ = answer({"torch": "1.0"})
    assert (kind, said.partition(" has ")[2]) == ("refused", f"torch {versions()['torch']} and not 1.0")
    assert "install on every node" in hint
    assert answer(there={"/nowhere": "the folder of artifacts"})[1].endswith("does not see the folder of artifacts")
    assert answer(same={str(file): "0" * 64})[1].endswith(f"sees another file at {file}")


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("127.0.0.1:1", ExitCode.FAILED, "the Ray cluster at RAY_ADDRESS=127.0.0.1:1 can't be reached: "),
        ("nowhere", ExitCode.FAILED, "can't be reached: Invalid address format: nowhere"),
        ("ray://127.0.0.1:10001", ExitCode.USAGE, "is for Ray Client, which --on ray does not use"),
    ],
)
def test_addresses_where_there_is_no_cluster(here, monkeypatch, address, code, said):
    monkeypatch.setenv("RAY_ADDRESS", address)
    result = invoke("run", "m.yaml", "--on", "ray")
    assert result.exit_code == code
    assert said in result.stderr
    assert not (here / "dist").exists()


@pytest.mark.parametrize("command", ["run", "tune"])
def test_without_ray_the_extra_is_named(here, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = invoke(command, "m.yaml#m-1", "--on", "ray")
    assert result.exit_code == ExitCode.FAILED
    assert "hint: pip install 'loramerge[ray]'" in result.stderr


def test_a_cluster_of_this_machine_leaves_nothing_at_home(here, monkeypatch, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("OMP_NUM_THREADS", "9999")
    (done,) = facts("run", "m.yaml#m-1", "--on", "ray", code=ExitCode.FAILED)
    assert "no node of the cluster has 9999 CPU, 1.0 GiB of memory, which it needs; there are 1" in str(done["error"])
    assert not (home / ".ray").exists()
