from __future__ import annotations

import contextlib
import os
import pty
import threading

import forked
import pytest
from command_line import write_recipe

from loramerge.cli.progress import shown
from loramerge.progress import ProgressLines, Silent


def test_a_line_for_each_task_with_anything_to_do(capsys):
    with shown("small", as_json=False) as lines:
        lines.start("merge", 3)
        lines.advance()
        lines.start("publish", 0)
    assert capsys.readouterr().err == "small: merge …\n"


def test_nothing_beside_json():
    with shown("small", as_json=True) as watcher:
        assert isinstance(watcher, Silent)


def test_lines_without_a_terminal():
    with shown("small", as_json=False) as watcher:
        assert isinstance(watcher, ProgressLines)


@pytest.mark.slow
def test_bars_on_a_terminal(here, models):
    ours, theirs = pty.openpty()
    pieces = []

    def read():
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes any more
            while piece := os.read(ours, 65536):
                pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    loras = {"ink": models.ink, "glow": models.glow}
    recipe = write_recipe(here, name="ink-glow", base=models.base, loras=loras)
    done = forked.run("run", recipe, cwd=here, stderr=theirs, env={"TERM": "xterm", "COLUMNS": "100"})
    os.close(theirs)
    reader.join(10)
    os.close(ours)
    said = b"".join(pieces).decode()
    assert done.returncode == 0
    assert "ink-glow: merge" in said
    assert "━" in said
    assert "ink-glow: load …" in said
    assert done.stdout.startswith("ink-glow\n")
