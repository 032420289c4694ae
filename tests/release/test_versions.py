"""The documentation of several versions beside each other, on the branch of a repository made for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT
from documentation.beside import BROUGHT

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not shutil.which("git") or not shutil.which("make"), reason="mike commits with git"),
]
SITE = ("Makefile", "mkdocs.yml", "mkdocs-versions.yml", "docs/**/*", "tests/documentation/beside.py", *BROUGHT)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Reads what the branch has after two versions, and a later one of the second."""
    folder = tmp_path_factory.mktemp("versions")
    for path in (each for pattern in SITE for each in ROOT.glob(pattern) if each.is_file()):
        place = folder / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    person = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = {**kept, **person, "GIT_CONFIG_GLOBAL": os.devnull, "http_proxy": "http://127.0.0.1:9"}

    def call(*command):
        done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call("git", "init", "--quiet", "--initial-branch", "main")
    call("git", "commit", "--quiet", "--allow-empty", "--message", "nothing yet")
    for version in ("0.1.0", "0.2.0", "0.2.1"):
        call("make", "--old-file", ".venv/.installed", "versions", f"VERSION={version}")
    return lambda path: call("git", "show", f"gh-pages:{path}")


def test_each_version_stands_beside_the_others(published):
    listed = json.loads(published("versions.json"))
    assert [(each["version"], each["aliases"]) for each in listed] == [("0.2", ["latest"]), ("0.1", [])]
    for place in ("0.1", "0.2"):
        assert "Several LoRAs become one" in published(f"{place}/index.html")
        assert "merge LoRAs" in published(f"{place}/guide.html")
    assert published("latest") == "0.2"  # a link


def test_the_first_page_is_that_of_the_latest(published):
    assert 'window.location.replace(\n      "latest/"' in published("index.html")


def test_a_page_offers_the_other_versions(published):
    config = re.search(r'<script id="__config"[^>]*>(.*?)</script>', published("0.1/guide.html"), re.DOTALL)[1]
    assert json.loads(config)["version"] == {"provider": "mike", "default": "latest"}


def test_which_version_has_to_be_said():
    done = subprocess.run(
        ["make", "--old-file", ".venv/.installed", "versions"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "which version? make versions VERSION=X.Y.Z" in done.stderr
