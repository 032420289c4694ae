"""Two runs at one place, in processes of their own."""

import errno
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from loramerge.files.atomic import replacing
from loramerge.files.digest import files_of
from loramerge.files.run_lock import in_turn

HOLDER = """
import sys
from pathlib import Path
from loramerge.files.atomic import replacing
from loramerge.files.run_lock import in_turn
place = Path(sys.argv[1])
class Watcher:
    def start(self, task, total): print(task, flush=True)
    def advance(self, steps=1): pass
with in_turn(place, Watcher()) as alone, replacing(place) as staging:
    print("alone" if alone else "not alone", flush=True)
    sys.stdin.readline()
    (staging / "theirs").write_text("2")
"""


class Watcher:
    """Keeps what it is told."""

    def __init__(self):
        self.tasks = []

    def start(self, task, total):
        self.tasks.append((task, total))

    def advance(self, steps=1):
        """All the same."""


@contextmanager
def other_process(place):
    command = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process):
    return process.stdout.readline().strip()


@pytest.fixture
def place(tmp_path):
    return tmp_path / "folder" / "x"


def test_a_run_alone_leaves_nothing_behind(place, tmp_path):
    watcher = Watcher()
    with in_turn(place, watcher) as alone:
        assert alone
    assert list(tmp_path.iterdir()) == []
    assert watcher.tasks == []


def test_the_second_run_waits_and_says_so(place):
    with in_turn(place), replacing(place) as staging, other_process(place) as second:
        (staging / "ours").write_text("1")
        assert line(second) == f"waiting for another run that writes {place}"
        second.send_signal(signal.SIGINT)
        assert second.wait(10) not in {0, None}
    assert list(files_of(place.parent)) == ["x/ours"]


def test_the_second_run_has_its_turn_when_the_first_is_done(place):
    with other_process(place) as first, other_process(place) as second:
        said = {line(first), line(second)}
        assert said == {"alone", f"waiting for another run that writes {place}"}
        for process in (first, second):
            process.stdin.write("\n")
        assert {first.wait(10), second.wait(10)} == {0}
        assert line(first) + line(second) == "alone"
    assert list(files_of(place.parent)) == ["x/theirs"]


def test_the_first_run_fails_and_takes_the_folders_away_that_it_made(place):
    with ExitStack() as processes:
        with pytest.raises(RuntimeError), in_turn(place):  # noqa: PT012  # what happens meanwhile
            second = processes.enter_context(other_process(place))
            assert line(second).startswith("waiting")
            raise RuntimeError
        assert line(second) == "alone"
        second.stdin.write("\n")
        assert second.wait(10) == 0
    assert list(files_of(place.parent)) == ["x/theirs"]


def test_what_a_killed_run_left_is_removed_and_that_is_said(place):
    with other_process(place) as killed:
        assert line(killed) == "alone"
        killed.kill()
        killed.wait()
    assert len(list(place.parent.iterdir())) == 2  # the lock's file and the folder
    watcher = Watcher()
    with in_turn(place, watcher):
        assert [path.name for path in place.parent.iterdir()] == [".x.lock.partial"]
    assert watcher.tasks == [(f"removing what a killed run left beside {place}", 1)]
    assert not place.parent.exists() or not list(place.parent.iterdir())


def test_what_a_running_one_has_is_left_alone(place):
    with other_process(place) as running:
        assert line(running) == "alone"
        with in_turn(place.with_name("x.y")), in_turn(place.with_name("y")):
            pass
        running.stdin.write("\n")
        assert running.wait(10) == 0
    assert list(files_of(place.parent)) == ["x/theirs"]


def test_a_place_that_a_killed_run_moved_aside_is_put_back(place):
    aside = place.with_name(".x.old.partial")
    aside.mkdir(parents=True)
    (aside / "old").write_text("1")
    with in_turn(place):
        assert list(files_of(place)) == ["old"]
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.skipif(sys.platform == "win32", reason="locks of Unix are taken away")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EPERM], ids=errno.errorcode.get)
def test_without_locks_nothing_is_removed(place, code, monkeypatch):
    def refused(*_):
        raise OSError(code, "")

    monkeypatch.setattr("fcntl.flock", refused)
    left = place.with_name(".x.abcdefgh.partial")
    left.mkdir(parents=True)
    with in_turn(place) as alone:
        assert not alone
    assert left.exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_place_where_no_file_can_be_made_is_not_tried_for_ever():
    with in_turn(Path("/proc/x")) as alone:
        assert not alone
