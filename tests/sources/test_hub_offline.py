"""The client reads HF_HUB_OFFLINE when it is imported: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub.example import FILES, REPO, WEIGHTS

from loramerge.sources import parse

FILE = f"hf://{REPO}/ikea.safetensors"


def locate(reference=FILE, **extra):
    return parse(reference, folder=Path("/nowhere"), **extra).locate()


SCRIPT = """
import sys
from pathlib import Path
from loramerge.errors import SourceError
from loramerge.sources import parse
try:
    located = parse(sys.argv[1], folder=Path(), revision=sys.argv[2] or None).locate()
    print(located.revision, *located.files, len((located.fetch(located.files[:1]) / located.files[0]).read_bytes()))
except SourceError as error:
    print(error)
"""


def offline(reference, revision=""):
    command = [sys.executable, "-c", SCRIPT, reference, revision]
    return subprocess.check_output(command, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}).strip()


@pytest.mark.slow
def test_a_cached_commit_needs_no_call(hub, repository):
    locate(f"hf://{REPO}").fetch(["ikea.safetensors", "unet/config.json"])
    hub.log.clear()
    head = repository.head
    assert offline(FILE, head) == f"{head} ikea.safetensors {len(WEIGHTS)}"
    assert offline(f"hf://{REPO}/unet", head) == f"{head} config.json {len(FILES['unet/config.json'])}"
    assert "has no file or folder vae" in offline(f"hf://{REPO}/vae", head)
    assert hub.log == []


def test_a_branch_is_refused(hub, repository):
    locate().fetch(["ikea.safetensors"])
    hub.log.clear()
    assert "offline, and main can mean another commit by now" in offline(FILE, "main")
    assert "offline, and the default branch can mean" in offline(FILE)
    assert hub.log == []


def test_a_commit_that_is_not_cached(hub, repository):
    assert f"nothing of commit {repository.head} is in the cache" in offline(FILE, repository.head)
    assert hub.log == []
