"""Errors become words and exit codes, whatever they are."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command_line import PROGRAM, QUICKSTART, invoke, process

from loramerge import recipe
from loramerge.cli.boundary import failure
from loramerge.cli.commands import NAMES, commands
from loramerge.errors import ExitCode, LoramergeError, MismatchError
from loramerge.files import interrupts
from loramerge.files.interrupts import noted, noting

pytestmark = pytest.mark.slow


def failing(monkeypatch, error, *options):
    """`validate`, which fails with `error`."""

    def read(*_, **__):
        raise error

    monkeypatch.setattr(recipe, "read_each", read)
    return invoke("validate", "r.yaml", *options)


def test_an_error_is_a_line_and_its_hint_another(monkeypatch):
    result = failing(monkeypatch, LoramergeError("it is too late", hint="come earlier"))
    assert result.exit_code == ExitCode.FAILED
    assert result.stderr == "error: it is too late\nhint: come earlier\n"


def test_an_error_as_json(monkeypatch, parsed):
    result = failing(monkeypatch, LoramergeError("it is too late", hint="come earlier"), "--json")
    assert result.exit_code == ExitCode.FAILED
    assert parsed(result) == {"error": {"message": "it is too late", "hint": "come earlier", "exit_code": 1}}
    assert result.stderr == ""


@pytest.mark.parametrize("kind", LoramergeError.__subclasses__())
def test_an_error_has_its_exit_code(monkeypatch, kind):
    assert failing(monkeypatch, kind("no")).exit_code == kind.exit_code


def test_a_defect_is_one_sentence(monkeypatch):
    result = failing(monkeypatch, ZeroDivisionError("division by zero"))
    assert result.exit_code == ExitCode.FAILED
    assert result.stderr == (
        "error: this is a defect of loramerge: ZeroDivisionError: division by zero\n"
        "hint: run it again with -v to see where, and report it\n"
    )


def test_a_defect_with_its_traceback(monkeypatch, capfd):
    def read(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(recipe, "read_each", read)
    with pytest.raises(SystemExit):
        commands.main(["validate", "r.yaml", "-v"])
    said = capfd.readouterr().err
    assert "Traceback" in said
    assert said.endswith("division by zero\nhint: report it, with the lines above\n")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "secret.yaml"), "secret.yaml: Permission denied"),
        (OSError(28, "No space left on device"), "the system refuses: No space left on device"),
        (MemoryError(), "there is not enough memory"),
        (type("OutOfMemoryError", (RuntimeError,), {})("…"), "there is not enough memory on the CUDA device"),
    ],
)
def test_what_the_machine_refuses_is_no_defect(monkeypatch, error, message):
    result = failing(monkeypatch, error)
    assert result.exit_code == ExitCode.FAILED
    assert result.stderr.startswith(f"error: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnu"], "there is no command 'rnu'; did you mean 'run'?"),
        (["run"], "Missing argument 'RECIPE...'."),
        (["completion"], "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish\n"),
        (["validate", "--jsn", "x"], "No such option '--jsn'."),
        (["run", "x", "--xyzzy"], "No such option '--xyzzy'.\n"),
        (["run", "x", "--forc"], "No such option '--forc'."),
        (["run", "x", "--rebuidl"], "No such option '--rebuidl'. Did you mean '--rebuild'?"),
        (["run", "x", "--out", ""], "Invalid value for '--out': it is empty; name a folder, or leave the option out"),
        (["plan", "x", "--out", ""], "Invalid value for '--out': it is empty"),
        (["preview", "x", "--out", ""], "Invalid value for '--out': it is empty"),
        (["run", "x", "--device", "tpu"], "Invalid value for '--device'"),
        (["run", QUICKSTART, "--set", "weight"], "--set weight: expected KEY=VALUE"),
    ],
)
def test_wrong_usage_is_not_clicks_2(arguments, message):
    result = invoke(*arguments)
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith(f"error: {message}")
    assert "\nhint: " in result.stderr


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mistyped", ["--forc", "--froce", "--forced", "--fore", "--Force"])
def test_no_mistyped_option_leads_to_one_that_destroys(here, name, mistyped):
    for arguments in ((name, mistyped), (name, "x", mistyped), (name, "x", mistyped, "--json")):
        result = invoke(*arguments)
        assert result.exit_code == ExitCode.USAGE
        assert "--force" not in re.sub(rf"'?{mistyped}\b'?", "", result.output)
        assert "o such option" in result.output
    assert list(here.iterdir()) == []


def test_wrong_usage_as_json(parsed):
    assert parsed(invoke("validate", "--json", "--no-such-option"))["error"]["exit_code"] == ExitCode.USAGE


def test_control_characters_do_not_reach_the_terminal(monkeypatch):
    assert failing(monkeypatch, LoramergeError("\x1b[2Jink")).stderr == "error: \\x1b[2Jink\n"


# in processes of their own


def test_an_interrupt(tmp_path):
    running = subprocess.Popen(
        [PROGRAM, "validate", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        # A shell starts its background jobs with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  no threads here
    )
    reading = Path(f"/proc/{running.pid}/wchan")
    deadline = time.monotonic() + 30
    while "pipe" not in (reading.read_text() if reading.exists() else "pipe") and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.0 if reading.exists() else 5)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said.strip()) == (ExitCode.INTERRUPTED, b"error: interrupted")


def test_a_pipe_that_nobody_reads_is_quiet():
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = process("schema", stdout=theirs)
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (ExitCode.FAILED, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk():
    with Path("/dev/full").open("w") as full:
        done = process("schema", stdout=full)
    assert (done.returncode, done.stderr) == (ExitCode.FAILED, "error: the system refuses: No space left on device\n")


def test_output_that_was_closed():
    script = f"'{PROGRAM}' validate '{QUICKSTART}' >&-"
    done = subprocess.run(["sh", "-c", script], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")


def test_no_traceback_and_the_exit_code_of_a_process(tmp_path):
    done = process("validate", "nowhere.yaml", cwd=tmp_path)
    assert done.returncode == ExitCode.INVALID_RECIPE
    assert done.stderr.splitlines() == [
        "error: nowhere.yaml: can't read the recipe: there is no such file",
        "hint: no .yaml or .yml file lies beside it",
    ]


def test_a_terminal_that_lacks_a_character(tmp_path):
    done = process("validate", "….yaml", cwd=tmp_path, env={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == ExitCode.INVALID_RECIPE
    assert done.stderr.startswith("error: \\u2026.yaml: can't read the recipe")


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_on_a_terminal(tmp_path, environment, coloured):
    ours, theirs = pty.openpty()
    process("validate", "nowhere.yaml", cwd=tmp_path, stderr=theirs, env=environment)
    os.close(theirs)
    said = os.read(ours, 4096).decode()
    os.close(ours)
    assert ("\x1b[" in said) is coloured
    assert "error:" in said


@pytest.fixture
def known(monkeypatch):
    """^C is known when it comes, as in a process of the program's own."""
    monkeypatch.setattr(interrupts, "_came", False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    noting()
    yield
    signal.signal(signal.SIGINT, before)


def test_what_a_library_makes_of_it_is_no_defect(known):
    assert failure(ValueError("half built"), verbose=False).code == ExitCode.FAILED
    assert not noted()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert noted()
    found = failure(ValueError("half built"), verbose=False)
    assert (found.message, found.code) == ("interrupted", ExitCode.INTERRUPTED)
    assert failure(MismatchError("rank 8"), verbose=False).code == ExitCode.MISMATCH
