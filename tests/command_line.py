"""The command line under test: in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from secrets_scan import refuse

from loramerge.cli.commands import commands
from loramerge.cli.output.schema import DOCUMENTS, schema
from loramerge.documents.yaml_document import dump

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "recipes" / "quickstart.yaml"
MODELS = ROOT / "recipes" / "quickstart"
PROGRAM = Path(sys.executable).with_name("loramerge")


def invoke(*arguments: object, stdin: str | None = None) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(commands, [str(each) for each in arguments], prog_name="loramerge", input=stdin)
    assert "Traceback" not in result.output
    refuse(result.output, f"output of {arguments}")
    if "--json" in arguments:
        fits(str(arguments[0]), result.stdout)
    return result


def facts(*arguments: object, code: int = 0) -> Any:
    """What a command says under `--json`, when it ends with an exit code."""
    result = invoke(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@cache
def _validator(command: str) -> Draft202012Validator:
    """Of what a command prints under --json; one that knows no --json prints errors alone."""
    place = command if command in DOCUMENTS else "ErrorDocument"
    return Draft202012Validator({"$ref": f"#/$defs/{place}", "$defs": schema()["$defs"]})


def fits(command: str, stdout: str) -> None:
    """Whatever happens, a command prints one document, and it is as its schema says."""
    document = json.loads(stdout)
    problem = best_match(_validator(command).iter_errors(document))
    assert problem is None, f"{command} --json: {problem.json_path}: {problem.message[:2000]}"


def process(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run the installed program."""
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        text=True,
        check=False,
        timeout=300,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options),
    )
    refuse(f"{done.stdout}{done.stderr}", f"output of {arguments}")
    return done


def write_recipe(folder: Path, *, name: str = "small", base: object, loras: Mapping[str, Any], **more: Any) -> Path:
    """A recipe in `folder`, called after itself; by the engine and with the report that take the least time.

    Args:
        folder: Where to.
        name: Of the recipe.
        base: Its source.
        loras: Name → source, or → all keys but the name.
        more: Other keys, or other values.
    """
    entries = [
        {"name": each, **(given if isinstance(given, dict) else {"source": str(given)})}
        for each, given in loras.items()
    ]
    recipe = {
        "version": 1,
        "name": name,
        "base": {"source": str(base)},
        "loras": entries,
        "merge": {"combination_type": "cat", "engine": "factored"},
        "outputs": [{"kind": "adapter", "format": "diffusers"}],
    }
    path = folder / f"{name}.yaml"
    path.write_text(dump({**recipe, **more, "report": more.get("report", "brief")}), encoding="utf-8")
    return path


def matrix_of(weights: str) -> str:
    """A recipe that stands for one of each weight of the ink.

    Args:
        weights: As a matrix has them in YAML, such as `[1, 2]`.
    """
    return f"""\
version: 1
name: m
base: {{source: {MODELS / "base"}}}
loras:
  - {{name: ink, source: {MODELS / "ink.safetensors"}}}
  - {{name: star, source: {MODELS / "star.safetensors"}}}
merge: {{combination_type: cat, engine: factored}}
outputs: [{{kind: adapter, format: kohya}}]
report: brief
matrix: {{loras.ink.weight: {weights}}}
"""


def listing(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: name → content, or None for a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
