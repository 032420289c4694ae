"""`loramerge preview` and `loramerge grid` as they are typed."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import forked
import pytest
from command_line import invoke, listing
from drawn import recipe_of

from loramerge.errors import ExitCode

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]


def test_a_preview_and_the_same_again(here):
    recipe_of(here, preview={"seeds": [0]}, weights=(1.0,))
    done = invoke("preview", "small.yaml", "--device", "cpu")
    assert done.exit_code == ExitCode.DONE
    assert re.match(
        r"small\n  pictures  3 in dist/small-preview\n  sheet     dist/small-preview/preview.png\n", done.stdout
    )
    assert done.stderr.splitlines() == [f"small: {task} …" for task in ("resolve", "load", "preview")]
    before = listing(here / "dist")
    again = invoke("preview", "small.yaml", "--json")
    said = json.loads(again.stdout)
    assert (said["drawn"], len(said["pictures"]), again.stderr) == (0, 3, "")
    assert said["sheets"][0] == str(here / "dist/small-preview/preview.png")
    assert listing(here / "dist") == before
    assert {path.name for path in here.iterdir()} == {"small.yaml", "dist"}


def test_a_grid(here):
    recipe_of(here, preview={"seeds": [0]})
    done = invoke("grid", "small.yaml", "--set", "loras.ink.weight=0.5,1", "--out", "x", "--device", "cpu")
    assert done.exit_code == ExitCode.DONE, done.stderr
    assert done.stdout.startswith("small\n  pictures  2 in x\n  sheet     x/grid-01.png\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["preview", "small.yaml", "--set", "preview=null"], ExitCode.USAGE, "says nothing of pictures"),
        (["preview", "small.yaml", "--set", "preview.prompts=['  ']"], ExitCode.INVALID_RECIPE, "more than blanks"),
        (["grid", "small.yaml"], ExitCode.USAGE, "no --set has several values"),
        (["grid", "small.yaml", "--set", "loras.0.weight=1,x"], ExitCode.INVALID_RECIPE, "--set loras.0.weight=x"),
        (["grid", "small.yaml", "--set", "preview.steps=1,2"], ExitCode.USAGE, "changes preview"),
    ],
)
def test_mistakes(here, arguments, code, message):
    recipe_of(here)
    done = invoke(*arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert not (here / "dist").exists()


@pytest.mark.skipif(not forked.CAN_FORK, reason="this system does not fork")
def test_an_interrupted_preview_says_what_is_there(here):
    """A real ^C, once the first pictures are there."""
    recipe_of(here, preview={"seeds": list(range(60))}, weights=(1.0,))
    with (here / "said.txt").open("w+") as errors:
        command = ("preview", "small.yaml", "--device", "cpu")
        program = forked.start(forked.command, *command, cwd=here, stderr=errors.fileno())
        while program.exitcode is None and not (here / "dist/small-preview/03-base.png").exists():
            time.sleep(0.05)
        os.kill(program.pid, signal.SIGINT)
        program.join()
        errors.seek(0)
        said = errors.read()
    assert program.exitcode == ExitCode.INTERRUPTED, said
    found = re.search(r"error: interrupted: (\d+) of 180 pictures are in \S+: the same command draws the others", said)
    assert found, said
    names = sorted(path.name for path in (here / "dist/small-preview").iterdir())
    assert len(names) == int(found[1]) >= 3
    assert not [name for name in names if "partial" in name]
