"""Each part of `make endurance` in its smallest form: it tries what it says, and would find something."""

from __future__ import annotations

import os
import shutil

import pytest
from endurance.clocks import jumped
from endurance.errands import CONVERT, LOCK, PLAN
from endurance.faults import READING, WRITING, failed
from endurance.kills import killed
from endurance.long import Sample, endured, slopes
from endurance.meetings import Meeting, met
from endurance.poisoned import poisoned
from endurance.shim import CAN_BUILD, Call, Strike
from endurance.told import Told
from endurance.world import different, world

pytestmark = [pytest.mark.long, pytest.mark.skipif(not CAN_BUILD, reason="needs Linux and gcc")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with world(tmp_path_factory.mktemp("endurance") / "root") as found:
        yield found


@pytest.fixture(autouse=True)
def _clean(request):
    """Folders of errands are made anew by each test."""
    yield
    if "place" in request.fixturenames:
        root = request.getfixturevalue("place").root
        for folder in root.iterdir():
            if folder.is_dir() and folder.name not in {"inputs", "tmp", "cache", "hub"}:
                shutil.rmtree(folder)


def total(told, kind):
    return sum(each[kind] for each in told.counts.values())


def test_kills(place):
    told = killed(place, 4, shares={CONVERT: 1})
    assert total(told, "kills") >= 4
    assert told.lost == []


def test_calls_that_fail(place):
    for kinds, step in ((WRITING, 6), (READING, 20)):
        told = failed(place, kinds, [LOCK], step=step)
        assert total(told, "positions") >= 3
        assert told.lost == []
        shutil.rmtree(place.root / "lock")


def test_a_call_fails_as_it_is_told_to(place):
    here = place.place(CONVERT)
    here.prepare(0)
    outcome = here.run(0, strike=Strike(Call.RENAME, 1, lasting=True))
    assert outcome.hit.startswith("rename ")
    assert (outcome.code, "Input/output error" in outcome.stderr) == (1, True)
    assert here.run(0, strike=Strike(Call.CREATE, 1, kill=True)).killed


def test_clocks(place):
    told = jumped(place, [LOCK], [-(10**9), 10**9], ["written, time put back"], rounds=1)
    assert total(told, "before") == 2
    assert total(told, "changes") == 3
    assert told.lost == []


def test_poisoned(place):
    told = poisoned(place, [PLAN], ["one digit", "pipe"])
    assert total(told, "files") >= 2
    assert told.lost == []


def test_meetings(place):
    told = met(place, 1, meetings=[Meeting(CONVERT, CONVERT)])
    assert total(told, "rounds") == 1
    assert told.lost == []


def test_long_runs(tmp_path):
    told = endured(tmp_path, 16, recipes=4, samples=8)
    assert total(told, "iterations") == 16
    assert "XDG_CACHE_HOME" in os.environ


def test_what_grows_is_found():
    growing = [Sample(each, 400 + each / 100, 7, 3, 0, 1, 0) for each in range(0, 10_000, 500)]
    assert slopes(growing)["memory"] == pytest.approx(10)
    assert slopes(growing)["files"] == pytest.approx(0)


def test_what_is_lost_is_told(capsys):
    told = Told("part")
    told.count("run", "kills")
    assert told.text().endswith("lost: nothing")
    told.lose("run", different({"a": "1"}, {"a": "2", "b": "3"}))
    assert "LOST in part: run ['a', 'b']" in capsys.readouterr().out
    assert told.text().endswith("lost: [\"run ['a', 'b']\"]")
