import ast
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import secrets_scan
from secrets_scan import SECRETS, on_purpose, secret_in, secrets_below

TESTS = Path(__file__).parent


@pytest.mark.parametrize("secret", SECRETS)
def test_a_planted_token_is_found(tmp_path, secret):
    on_purpose(tmp_path)
    folder = tmp_path / "dist"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "report.json").write_bytes(b"\xff{'token': '" + secret.encode() + b"'}")
    (folder / "fine").write_text("hf_hub_download")
    secrets_scan._ON_PURPOSE.remove(tmp_path.resolve())
    try:
        assert list(secrets_below(folder)) == [f"{folder / 'deep' / 'report.json'}: {secret}"]
    finally:
        on_purpose(tmp_path)
    assert list(secrets_below(folder)) == []


def test_every_made_up_token_of_the_tests_is_looked_for():
    texts = {
        node.value
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("hf_")
    }
    tokens = {text for text in texts if text.isidentifier() and not hasattr(huggingface_hub, text)}
    assert {token for token in tokens if not secret_in(token)} <= {"hf_", "hf_xet"}


SESSION = """
import logging
from pathlib import Path
from loramerge.errors import LoramergeError

def test_quiet(tmp_path):
    (tmp_path / "fine").write_text("fine")

def test_file(tmp_path):
    (tmp_path / "written").write_text("hf_" + "loopback_tester")

def test_error():
    LoramergeError("refused: hf_" + "loopback_stranger")

def test_output():
    print("printed hf_" + "made_up")

def test_log():
    logging.getLogger("any").warning("logged %s", "hf_" + "wrong")
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "found", "workers"),
    [
        ("quiet", [], "-n0"),
        ("file", ["written: hf_loopback_tester"], "-n1"),
        (
            "error or output or log",
            [
                "error LoramergeError: hf_loopback_stranger",
                "Captured stdout call: hf_made_up",
                "log of any: hf_wrong",
            ],
            "-n0",
        ),
    ],
)
def test_a_session_with_a_token_fails(tmp_path, name, found, workers):
    (tmp_path / "conftest.py").write_text("import hub.environment\nfrom secrets_scan import *\n")
    (tmp_path / "test_it.py").write_text(SESSION)
    on_purpose(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        workers,
        "-k",
        name,
        "--basetemp",
        tmp_path / "temp",
        "-p",
        "no:cacheprovider",
    ]
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == bool(found), done.stdout
    assert [each for each in found if each not in done.stdout] == []
