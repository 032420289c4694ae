"""`run --jobs` and `run --shard`: what several processes do is what one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import MODELS, PROGRAM, facts, invoke, listing, matrix_of, write_recipe

from loramerge.cli.planning import makers_of
from loramerge.cli.processes import ProcessCrew, _Process
from loramerge.cli.recipe_queue import RecipeQueue
from loramerge.cli.recipes import read_each
from loramerge.cli.run_one import RunSettings
from loramerge.cli.shards import Shard
from loramerge.cli.side_by_side import side_by_side
from loramerge.errors import ExitCode

pytestmark = pytest.mark.long
NAMES = ["m-1", "m-2", "m-3", "m-4"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    Path("m.yaml").write_text(matrix_of("[1, 2, 3, 4]"))
    return tmp_path


def without_times(text):
    return [line for line in text.splitlines() if not line.startswith("  time ")]


def test_several_processes_do_and_say_what_one_does(here):
    one = invoke("run", "m.yaml", "--out", "x")
    assert one.exit_code == ExitCode.USAGE  # four recipes
    one = invoke("run", "m.yaml")
    serial = listing(here / "dist")
    several = invoke("run", "m.yaml", "--jobs", 2, "--rebuild")
    assert (several.exit_code, without_times(several.stdout)) == (ExitCode.DONE, without_times(one.stdout))
    assert [line for line in several.stderr.splitlines() if ": plan " not in line] == [
        line for line in one.stderr.splitlines() if ": plan " not in line
    ]
    assert listing(here / "dist") == serial
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert [each["status"] for each in facts("run", "m.yaml", "--jobs", 3)] == ["up to date"] * 4


def test_one_that_fails_ends_it_unless_the_others_go_on(here):
    Path("bad.yaml").write_text("version: 1\nname: bad\n")
    Path("m.yaml").write_text(matrix_of("{a: 1, b: {loras.ink.rank: 9}, c: 3, d: 4, e: 5, f: 6}"))
    done = facts("run", "m.yaml", "--jobs", 2, code=ExitCode.MISMATCH)
    assert [each["status"] for each in done[:2]] == ["built", "failed"]
    assert done[-1]["status"] == "not started"
    done = facts("run", "m.yaml#m-b", "bad.yaml", "m.yaml#m-a", "m.yaml#m-f", "--jobs", 2, "-k", code=ExitCode.FAILED)
    assert [each["status"] for each in done] == ["failed", "failed", "up to date", "built"]
    assert "rank" in done[0]["error"]["message"]
    assert "loras: missing" in done[1]["error"]["message"]


@pytest.fixture
def running(here):
    """A run of many recipes by two processes, begun."""
    Path("m.yaml").write_text(matrix_of(str([*range(1, 25)])))
    process = subprocess.Popen(
        [PROGRAM, "run", "m.yaml", "--jobs", "2", "--json", "-k"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 120
    while len([*here.glob("dist/*/provenance.json")]) < 4 and time.monotonic() < end:
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def complete(here):
    """Names of artifacts; each is whole. What a killed process had begun is hidden, and the next run removes it."""
    found = [each.name for each in (here / "dist").iterdir() if each.name[0] != "."]
    for name in found:
        assert invoke("verify", here / "dist" / name).exit_code == ExitCode.DONE
    return found


def test_an_interrupt_leaves_nothing_half_done(here, running):
    running.send_signal(signal.SIGINT)  # to the first process alone
    out, errors = running.communicate(timeout=60)
    done = json.loads(out)
    assert running.returncode == ExitCode.INTERRUPTED, errors
    assert len(done) == 24
    built = [each["name"] for each in done if each["status"] == "built"]
    assert built
    assert {each["status"] for each in done} == {"built", "failed", "not started"}
    assert {each["error"]["exit_code"] for each in done if "error" in each} == {ExitCode.INTERRUPTED}
    assert set(built) <= set(complete(here))
    assert "Traceback" not in errors


def test_a_process_that_is_killed_is_told_and_the_others_go_on(here, running):
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    worker = next(each for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes())
    os.kill(int(worker), signal.SIGKILL)
    out, errors = running.communicate(timeout=300)
    done = json.loads(out)
    failed = [each for each in done if each["status"] == "failed"]
    assert len(failed) == 1, errors
    assert "was not finished: its process was ended" in failed[0]["error"]["message"]
    assert len([each for each in done if each["status"] == "built"]) == 23
    assert len(complete(here)) >= 23
    assert facts("run", "m.yaml", "--jobs", 2)[0]["status"] == "up to date"
    assert {each.name for each in (here / "dist").iterdir() if each.name[0] == "."} <= {".loramerge"}


def _has_work(**_settings):  # of this module, as all that goes to another process
    return True


def planned(name, *, base="base", lock=None, preview=None, makers=()):
    recipe = SimpleNamespace(base=SimpleNamespace(source=base, revision=None), preview=preview)
    given = SimpleNamespace(path=name, recipe=recipe)
    return SimpleNamespace(
        given=given,
        plan=SimpleNamespace(lock=lock, recipe=recipe),
        pending=True,
        makers=makers,
        failure=None,
        has_work=_has_work,
    )


def known(size):
    return SimpleNamespace(sources=SimpleNamespace(base=SimpleNamespace(files={"a": SimpleNamespace(size=size)})))


def test_a_base_that_was_never_read_is_read_by_one():
    queue = RecipeQueue([planned("a"), planned("b"), planned("c", base="other"), planned("d", lock=known(1))], 1 << 50)
    assert [queue.next() for _ in range(4)] == [0, 2, 3, None]
    queue.finish(0, ({}, ()))
    assert queue.next() == 1


def test_no_more_than_memory_has_room_for():
    gib = 1 << 30
    queue = RecipeQueue([planned(name, lock=known(gib), preview=True) for name in "abc"], 8 * gib)
    assert [queue.next(), queue.next(), queue.next()] == [0, 1, None]  # 3 GiB each, of 6.4
    queue.finish(0, ({}, ()))
    assert queue.next() == 2
    small = RecipeQueue([planned(name, lock=known(gib)) for name in "ab"], 0)
    assert [small.next(), small.next()] == [0, None]  # one at least


def test_a_queue_that_is_stopped():
    queue = RecipeQueue(
        [planned("a", lock=known(1)), planned("b", makers=("a",)), planned("c", lock=known(1))], 1 << 50
    )
    assert [queue.next(), queue.next(), queue.next()] == [0, 2, None]
    queue.finish(0, ({}, ()))
    queue.stop()
    assert queue.next() is None


def test_shards_are_parts_of_all(here):
    loras = {"made": here / "dist/m-1/kohya/m-1.safetensors", "glow": MODELS / "glow.safetensors"}
    write_recipe(here, name="second", base=MODELS / "base", loras=loras)
    recipes = read_each(["m.yaml", "second.yaml"], (), locks=True)
    known_makers = {path: found for path, found in makers_of(recipes).items() if found}
    assert known_makers == {"second.yaml": ("m.yaml#m-1",)}
    for count in (1, 2, 3, 9):
        parts = [[each.path for each in Shard(number + 1, count).of(recipes, known_makers)] for number in range(count)]
        assert sorted(path for part in parts for path in part) == sorted(each.path for each in recipes)
        assert all(("second.yaml" in part) == ("m.yaml#m-1" in part) for part in parts)
        assert max(map(len, parts)) - min(map(len, parts)) <= 2


def test_a_shard_is_run(here):
    done = [facts("run", "m.yaml", "--shard", f"{number}/3") for number in (1, 2, 3)]
    assert [[each["name"] for each in part] for part in done] == [["m-1", "m-4"], ["m-2"], ["m-3"]]


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/0", "-1/2", "1/2/3"])
def test_shards_that_are_none(here, shard):
    result = invoke("run", "m.yaml", "--shard", shard)
    assert result.exit_code == ExitCode.USAGE
    assert "is no part such as 3/8" in result.stderr


def test_pruning_is_for_all(here):
    result = invoke("run", ".", "--shard", "1/2", "--prune")
    assert result.exit_code == ExitCode.USAGE
    assert "--prune looks at all recipes" in result.stderr


def test_signed_side_by_side(here):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = here / "key.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(*form))
    done = facts("run", "m.yaml#m-1", "m.yaml#m-2", "--jobs", 2, "--sign", key)
    assert [each["status"] for each in done] == ["built", "built"]
    assert (here / "dist/m-2/model.sig").is_file()


def test_an_interrupt_while_processes_begin_is_no_success(here):
    process = subprocess.Popen(
        [PROGRAM, "run", "m.yaml", "--jobs", "2", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + 60
    while len(children.read_text().split()) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    try:
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == ExitCode.INTERRUPTED, errors
    assert "Traceback" not in errors
    assert "not started" in {each["status"] for each in json.loads(out)}


@pytest.mark.parametrize(("at", "first"), [("give", "failed"), ("take", "built")])
def test_an_interrupt_comes_before_or_after_what_is_done_and_never_between(here, monkeypatch, at, first):
    """As if ^C came when a recipe is noted and not yet sent, or received and not yet noted."""
    act, once = getattr(ProcessCrew, at), cache(partial(signal.raise_signal, signal.SIGINT))

    def interrupted(crew, *given):
        if at == "give":
            once()
        result = act(crew, *given)
        if at == "take":
            once()
        return result

    monkeypatch.setattr(ProcessCrew, at, interrupted)
    before = signal.getsignal(signal.SIGINT)
    told = facts("run", "m.yaml", "--jobs", 2, code=ExitCode.INTERRUPTED)
    assert signal.getsignal(signal.SIGINT) is before
    assert first in {each["status"] for each in told[:2]}  # who is done first is theirs to say
    assert at == "take" or "built" not in {each["status"] for each in told}
    assert {each["error"]["exit_code"] for each in told if "error" in each} == {ExitCode.INTERRUPTED}
    assert told[-1]["status"] == "not started"


def test_shards_keep_what_two_make_with_what_uses_both(here):
    loras = {f"l{number}": here / f"dist/m-{number}/kohya/m-{number}.safetensors" for number in (1, 2)}
    write_recipe(here, name="second", base=MODELS / "base", loras=loras)
    recipes = read_each(["m.yaml", "second.yaml"], (), locks=True)
    parts = [[each.path for each in Shard(number, 2).of(recipes, makers_of(recipes))] for number in (1, 2)]
    (with_it,) = [part for part in parts if "second.yaml" in part]
    assert {"m.yaml#m-1", "m.yaml#m-2"} <= {*with_it}
    done = facts("run", "m.yaml#m-1", "m.yaml#m-2", "second.yaml", "--jobs", 2)
    assert [each["status"] for each in done] == ["built"] * 3


def test_a_process_that_is_killed_while_it_has_nothing_to_do():
    names = {field.name: None for field in fields(RunSettings)}
    settings = RunSettings(**{**names, "as_json": True, "keep_going": True, "verbose": False})
    found = [planned("a", lock=known(1))]
    found[0].given.name = "a"
    crew = ProcessCrew(settings, 1)
    process = _Process(settings, 1)
    process._process.kill()
    process._process.join()
    crew._idle.append(process)
    (facts,) = side_by_side(found, settings, crew)
    assert "a was not finished: its process was ended" in facts["error"]["message"]
