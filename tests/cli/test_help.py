"""What the commands say of themselves."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from command_line import invoke

from loramerge.cli.commands import NAMES, commands
from loramerge.errors import ExitCode

ROOT_CONTEXT = click.Context(commands, info_name="loramerge")
by_name = pytest.mark.parametrize("name", NAMES)


def command(name):
    return commands.get_command(ROOT_CONTEXT, name)


def examples(text):
    """Command lines under `Examples:`, those of a pipe one by one."""
    lines = text.partition("Examples:")[2].strip().split("\n\n")[0].splitlines()
    return [part.strip() for line in lines for part in re.split(r" \| |>>? \S+", line) if part.strip()]


@by_name
def test_a_command_has_help_with_an_example(name):
    result = invoke(name, "--help")
    assert result.exit_code == ExitCode.DONE
    assert any(example.startswith(f"loramerge {name}") for example in examples(result.stdout))
    assert command(name).get_short_help_str(100).endswith(".")


@pytest.mark.parametrize(
    "example", [each for name in ("", *NAMES) for each in examples(invoke(*name.split(), "--help").stdout)]
)
def test_an_example_can_be_typed(example):
    program, *arguments = shlex.split(example)
    if program == "loramerge":
        command(arguments[0]).make_context(arguments[0], arguments[1:], parent=ROOT_CONTEXT)
    else:
        assert program == "jq"


@by_name
def test_every_option_is_explained(name):
    for parameter in command(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help
            assert parameter.help.endswith(".")


def test_no_summary_is_cut_on_a_terminal_of_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    summaries = dict(re.findall(r"^  ([a-z]+)  +(\S.*)$", invoke("--help").stdout, re.MULTILINE))
    assert {*summaries} >= {*NAMES}
    assert {name for name in NAMES if summaries[name] != command(name).get_short_help_str(1000)} == set()


def test_the_help_lists_every_exit_code():
    listed = dict(re.findall(r"^ +(\d+)  +(\S.*)$", invoke("--help").stdout, re.MULTILINE))
    assert {int(code) for code in listed} == set(ExitCode)


def test_the_version():
    own, others = invoke("--version").stdout.splitlines()
    assert re.fullmatch(r"loramerge \d+\.\d+\.\d+\S*", own)
    decide_bytes = ["python", "torch", "peft", "diffusers", "transformers", "safetensors", "numpy", "matplotlib"]
    assert [each.split()[0] for each in others.split(", ")] == decide_bytes


def test_nothing_at_all_shows_the_help():
    result = invoke()
    assert result.exit_code == ExitCode.USAGE
    assert "Commands:" in result.stderr
    assert result.stdout == ""
