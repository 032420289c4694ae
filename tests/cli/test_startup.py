"""What a command loads before it works. How long that takes is measured in bench/startup.py."""

from __future__ import annotations

import subprocess
import sys

import pytest
from command_line import MODELS, QUICKSTART, ROOT

HEAVY = {"torch", "diffusers", "peft", "transformers", "huggingface_hub", "accelerate", "safetensors", "numpy", "rich"}
CODE = f"""
import sys
from loramerge.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*sorted({HEAVY} & {{*sys.modules}}), sep=",", file=sys.stderr)
"""


def loaded(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, arguments)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["lock", "--help"],
        ["inspect", "--help"],
        ["init", "--help"],
        ["validate", QUICKSTART],
        ["schema"],
        ["completion", "bash"],
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_what_needs_no_heavy_library_loads_none(arguments):
    assert loaded(*arguments) == ""


def test_what_is_heavy_is_found_where_it_is_used():
    assert "torch" in loaded("inspect", MODELS / "ink.safetensors", "--json")
