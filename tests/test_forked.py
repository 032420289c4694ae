"""A fork of the process that has imported everything does what the installed program does."""

from __future__ import annotations

from pathlib import Path

import forked
import pytest
from command_line import MODELS, listing, process, write_recipe

pytestmark = [pytest.mark.long, pytest.mark.skipif(not forked.CAN_FORK, reason="this system does not fork")]


def test_a_run_is_the_installed_programs(tmp_path):
    loras = {name: MODELS / f"{name}.safetensors" for name in ("ink", "glow")}
    outputs = [{"kind": "adapter", "format": "peft"}, {"kind": "pipeline"}]
    preview = {"prompts": ["a bowl"], "seeds": [0], "steps": 1}
    write_recipe(tmp_path, base=MODELS / "base", loras=loras, outputs=outputs, preview=preview, report="full")
    made = {}
    for run in (process, forked.run):
        arguments = ("run", "small.yaml", "--rebuild", "--device", "cpu")
        done = run(*arguments, cwd=tmp_path, env={"TZ": "Asia/Tokyo"})
        said = [line for line in done.stdout.splitlines() if not line.startswith("  time ")]
        made[run] = (done.returncode, said, done.stderr, listing(tmp_path / "dist"))
    assert made[process] == made[forked.run]
    assert made[process][0] == 0


@pytest.mark.parametrize("arguments", [["run", "nowhere.yaml"], ["rnu"], ["inspect", "nowhere", "--json"], ["--help"]])
def test_what_is_said_is_the_installed_programs(arguments, tmp_path):
    mine, theirs = (run(*arguments, cwd=tmp_path) for run in (forked.run, process))
    assert (mine.returncode, mine.stdout, mine.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


def test_a_variable_that_comes_too_late_is_refused():
    with pytest.raises(ValueError, match="HF_HUB_CACHE"):
        forked.run("--help", env={"HF_HUB_CACHE": "x"})
    with pytest.raises(ValueError, match="-v is read"):
        forked.run("run", "x", "-v")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not list threads")
def test_what_is_forked_has_one_thread(tmp_path):
    with (tmp_path / "out").open("w+") as out:
        running = forked.start(forked.count_threads, stdout=out.fileno())
        running.join(60)
        out.seek(0)
        assert out.read() == "1\n"
