"""`loramerge tune`."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import forked
import pytest
from command_line import MODELS, invoke, write_recipe
from PIL import Image

from loramerge.errors import ExitCode

pytestmark = pytest.mark.long

VARY = {"loras.ink.weight": {"from": 0.2, "to": 1.2}, "loras.star.weight": {"from": 0.2, "to": 1.2}}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loras = {name: MODELS / f"{name}.safetensors" for name in ("ink", "star")}
    write_recipe(tmp_path, base=MODELS / "base", loras=loras, search={"vary": VARY, "trials": 4})
    return tmp_path


def test_what_is_said_of_a_search(here):
    done = invoke("tune", "small.yaml")
    assert done.exit_code == ExitCode.DONE, done.stderr
    first, score, parts, ink, star, trials, recipe, study, seconds = map(str.strip, done.stdout.splitlines())
    assert first == "small"
    assert re.fullmatch(r"score +0\.\d+ in trial \d \(0\.\d+ as the recipe was\)", score)
    assert re.fullmatch(r"of it +ink 0\.\d+, star 0\.\d+", parts)
    assert (ink.split()[0], star.split()[0]) == tuple(VARY)
    assert trials.split() == ["trials", "4"]
    assert recipe.split() == ["recipe", "small-tuned.yaml"]
    assert study.split(maxsplit=1)[1].strip() == "small.study.log, small.study.png"
    assert seconds.endswith(" s")
    lines = done.stderr.splitlines()
    assert [line for line in lines if "trial 1 of 4" in line] == ["small: trial 1 of 4 …"]
    assert re.search(r"small: trial 4 of 4, best so far 0\.\d+ …", done.stderr)
    assert lines[-1] == "next: loramerge run small-tuned.yaml"
    with Image.open(here / "small.study.png") as picture:
        assert picture.info["software"] == "loramerge"
        assert picture.info["trials"] == "4"
    again = invoke("tune", "small.yaml", "--trials", "5")
    assert "trials             5 (4 of them there already)" in again.stdout
    ran = invoke("run", "small-tuned.yaml", "--out", "out")
    assert ran.exit_code == ExitCode.DONE, ran.stderr


def test_as_json(here):
    done = invoke("tune", "small.yaml", "--trials", "2", "--seed", "7", "-o", "found.yaml", "--json")
    assert done.exit_code == ExitCode.DONE, done.stderr
    said = json.loads(done.stdout)
    assert said["tuned"] == str(here / "found.yaml")
    assert (said["trials"], said["new"]) == (2, 2)
    assert said["best"]["score"] == min(said["parts"].values()) >= said["given"]
    assert set(said["best"]["values"]) == set(VARY)
    assert "seed 7; 0." in (here / "found.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "search=null"], ExitCode.USAGE, "the recipe small says nothing of a search"),
        (["--set", "search.vary={}"], ExitCode.INVALID_RECIPE, "search.vary: found an empty mapping"),
        (["--set", "search.objective=nice"], ExitCode.INVALID_RECIPE, "expected kept, previews, or a function of your"),
        (["--set", "search.objective=own_gone:score"], ExitCode.FAILED, "own_gone can't be imported: ModuleNotFoundEr"),
        (["--trials", "0"], ExitCode.USAGE, "0 is not in the range x>=1"),
        (["--jobs", "0"], ExitCode.USAGE, "0 is not in the range"),
        (["-o", "sub/found.yaml"], ExitCode.USAGE, "does not lie beside"),
    ],
)
def test_mistakes(here, arguments, code, message):
    done = invoke("tune", "small.yaml", *arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert [path.name for path in here.iterdir()] == ["small.yaml"]


def test_standard_input_has_nothing_beside_it(here):
    done = invoke("tune", "-", stdin=(here / "small.yaml").read_text())
    assert done.exit_code == ExitCode.USAGE
    assert "what is tuned is a file" in done.stderr


def test_a_folder_that_holds_a_file_of_that_name(here):
    (here / "small.study.png").write_text("mine")
    done = invoke("tune", "small.yaml")
    assert done.exit_code == ExitCode.FAILED
    assert "holds files that loramerge did not draw: small.study.png\nhint: move them away\n" in done.stderr
    assert not (here / "small.study.log").exists()


def test_other_commands_pass_over_the_search(here):
    assert invoke("validate", "small.yaml").exit_code == ExitCode.DONE
    assert invoke("run", "small.yaml", "--out", "out").exit_code == ExitCode.DONE
    before = (here / "out/provenance.json").read_bytes()
    assert b"objective" not in before
    planned = invoke("plan", "small.yaml", "--set", "search.trials=9", "--out", "out").stdout
    assert "recipe changed: its comments, its layout or its search" in planned
    assert invoke("verify", "out", "--rebuild").exit_code == ExitCode.DONE


@pytest.mark.skipif(not forked.CAN_FORK, reason="this system does not fork")
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_search_goes_on(here, jobs):
    """A real ^C, once the first trials are there."""
    with (here / "said.txt").open("w+") as errors:
        command = ("tune", "small.yaml", "--trials", "2000", "--jobs", str(jobs))
        program = forked.start(forked.command, *command, cwd=here, stderr=errors.fileno())
        while program.exitcode is None and "trial 4 of" not in (here / "said.txt").read_text():
            time.sleep(0.05)
        os.kill(program.pid, signal.SIGINT)
        program.join()
        errors.seek(0)
        said = errors.read()
    assert program.exitcode == ExitCode.INTERRUPTED, said
    found = re.search(r"error: interrupted: (\d+) of 2000 trials are in \S+: the same command goes on", said)
    assert found, said
    assert not (here / "small-tuned.yaml").exists()
    count = int(found[1])
    done = json.loads(invoke("tune", "small.yaml", "--trials", str(count + 2), "--json").stdout)
    assert (done["trials"], done["new"]) == (count + 2, 2)
