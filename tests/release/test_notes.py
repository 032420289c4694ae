"""What has to fit together before a version is released."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from command_line import ROOT
from release.notes import notes, sections, version

import loramerge

CHANGES = "# Changelog\n\n## Unreleased\n\n## 1.2.0 - 2026-11-28\n\n### Added\n\n- A way.\n\n## 1.1.0\n\n- Before.\n"
PROJECT = '[project]\nversion = "1.2.0"\nSource = "https://github.com/me/here"\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    return tmp_path


def test_a_release_says_what_changed_in_it(folder):
    assert notes("v1.2.0", "me/here", folder) == "### Added\n\n- A way."


@pytest.mark.parametrize("tag", ["1.2.0", "v1.2", "v1.2.1", "v1.2.0-rc1", ""])
def test_another_tag_is_refused(folder, tag):
    with pytest.raises(ValueError, match=re.escape(f"the tag is {tag}, and pyproject.toml has version 1.2.0")):
        notes(tag, "me/here", folder)


@pytest.mark.parametrize("text", [CHANGES.replace("1.2.0", "1.3.0"), CHANGES.replace("### Added\n\n- A way.\n", "")])
def test_changes_that_nobody_wrote_are_refused(folder, text):
    (folder / "CHANGELOG.md").write_text(text)
    with pytest.raises(ValueError, match=r"says nothing of 1\.2\.0: call its section ## 1\.2\.0 - YYYY-MM-DD"):
        notes("v1.2.0", "me/here", folder)


def test_addresses_of_another_repository_are_refused(folder):
    with pytest.raises(ValueError, match=r"leads to me/here; expected https://github\.com/me/there everywhere"):
        notes("v1.2.0", "me/there", folder)


def test_what_is_wrong_is_said_in_one_line():
    program = ROOT / "tests" / "release" / "notes.py"
    done = subprocess.run([sys.executable, program, "v0"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: the tag is v0, .*\n", done.stderr)


def test_there_is_one_version():
    current = version()
    assert loramerge.__version__ == current, "install it again: make clean, then any target"
    for path in (ROOT / "action.yml", ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        named = re.findall(
            r"(?:loramerge(?:\[\w+\])?(?:==|@v|:|-)|rev: v)(\d+\.\d+\.\d+)", path.read_text(encoding="utf-8")
        )
        assert {*named} <= {current}, path
    assert len(re.findall(rf"\b{re.escape(current)}\b", (ROOT / "pyproject.toml").read_text())) == 1


def test_what_changed_is_told_by_version():
    told = [*sections()]
    assert told[0] in {"Unreleased", version()}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", each) for each in told[1:])
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^## ", text, re.MULTILINE)) == len(told)
