"""Runs the steps of a composite action as GitHub's runner does, for the expressions that this repository uses.

Done as the runner does it: order, `if`, `env`, `${{ }}`, bash's options, GITHUB_OUTPUT, GITHUB_STEP_SUMMARY and the
variables of the event. Not done: what `uses` names; its outputs are given instead.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_TOKEN = re.compile(r"\s*('[^']*'|&&|\|\||==|!=|!|\(\)|[()]|[\w.-]+)")
_OPERATORS = {"&&": " and ", "||": " or ", "!": " not ", "==": "==", "!=": "!=", "(": "(", ")": ")"}
_STATUS = {"success", "failure", "always"}
"""Functions of the status; an `if` without one of them holds only while nothing has failed."""
_SCRUBBED = ("GITHUB_", "RUNNER_", "ACTIONS_", "HF_TOKEN", "HF_OIDC", "PYTHONPATH", "CI")


@dataclass
class Step:
    """What came of a step: `skipped`, `success` or `failure`."""

    outcome: str = "skipped"
    output: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    """A job that has checked out a repository.

    Attributes:
        workspace: The checkout.
        temp: A folder of the runner, outside of the checkout.
        event: Name of the event.
        ref: Branch or pull request.
        env: Variables of the job.
        used: What an action that a step `uses` puts out, by its name.
    """

    workspace: Path
    temp: Path
    event: str = "push"
    ref: str = "refs/heads/main"
    env: Mapping[str, str] = field(default_factory=dict)
    used: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""

    @property
    def failed(self) -> list[str]:
        """Names of the steps that failed."""
        return [name for name, step in self.steps.items() if step.outcome == "failure"]

    @property
    def log(self) -> str:
        """Everything that the steps printed."""
        return "".join(step.output for step in self.steps.values())

    def run(self, action: Path, *, only: str = "", skip: str = "", **inputs: str) -> Job:
        """Run the steps of the action in a folder; the one that is called `only` alone, all but the one to `skip`."""
        document = yaml.safe_load((action / "action.yml").read_text(encoding="utf-8"))
        declared = {name.replace("-", "_"): name for name in document["inputs"]}
        given = {name: each["default"] for name, each in document["inputs"].items()}
        given |= {declared[name]: value for name, value in inputs.items()}
        by_id: dict[str, Step] = {}
        for entry in document["runs"]["steps"]:
            if only and entry["name"] != only and "uses" not in entry:
                continue
            step = self.steps[entry["name"]] = by_id[entry.get("id", entry["name"])] = Step()
            if entry["name"] == skip:
                continue
            scope = _Scope(given, by_id, _ids(document), failed=bool(self.failed))
            if not scope.condition(entry.get("if", "success()")):
                continue
            if "uses" in entry:
                name = entry["uses"].partition("@")[0]
                for value in entry["with"].values():
                    scope.text(str(value))
                step.outcome, step.outputs = "success", dict(self.used.get(name, {}))
            else:
                self._shell(entry, scope, step, action)
        scope = _Scope(given, by_id, _ids(document), failed=bool(self.failed))
        self.outputs = {name: scope.text(each["value"]) for name, each in document["outputs"].items()}
        return self

    def _shell(self, entry: Mapping[str, Any], scope: _Scope, step: Step, action: Path) -> None:
        assert entry["shell"] == "bash"
        script, output, summary = (self.temp / f"step.{name}" for name in ("sh", "output", "summary"))
        script.write_text(scope.text(entry["run"]), encoding="utf-8")
        output.write_text("")
        summary.write_text("")
        base = {name: value for name, value in os.environ.items() if not name.startswith(_SCRUBBED)}
        runner = {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(action),
            "GITHUB_EVENT_NAME": self.event,
            "GITHUB_REF": self.ref,
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_TEMP": str(self.temp),
        }
        own = {name: scope.text(value) for name, value in entry.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
            cwd=self.workspace,
            env={**base, **self.env, **runner, **own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        step.outcome = "failure" if done.returncode else "success"
        step.output = done.stdout
        step.outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
        self.summary += summary.read_text(encoding="utf-8")


def _ids(document: Mapping[str, Any]) -> set[str]:
    return {each["id"] for each in document["runs"]["steps"] if "id" in each}


@dataclass(frozen=True)
class _Scope:
    """What names mean at a step."""

    inputs: Mapping[str, str]
    steps: Mapping[str, Step]
    ids: set[str]
    failed: bool

    def text(self, template: str) -> str:
        return _EXPRESSION.sub(lambda match: str(self._value(match[1])), template)

    def condition(self, expression: str) -> bool:
        holds = bool(self._value(expression))
        called = any(f"{name}()" in expression for name in _STATUS)
        return holds and (called or not self.failed)

    def _value(self, expression: str) -> Any:
        tokens = _TOKEN.findall(expression)
        assert "".join(tokens) == re.sub(r"\s", "", expression), expression
        code, calls = "", iter(tokens)
        for token in calls:
            if token in _STATUS:
                assert next(calls) == "()"
                code += repr({"success": not self.failed, "failure": self.failed, "always": True}[token])
            elif token.startswith("'"):
                code += token
            else:
                code += _OPERATORS.get(token) or repr(self._looked_up(token))
        return eval(code.strip(), {"__builtins__": {}})  # noqa: S307  literals and operators alone

    def _looked_up(self, name: str) -> str:
        match name.split("."):
            case ["inputs", key]:
                return self.inputs[key]
            case ["steps", key, "outputs", output]:
                assert key in self.ids, f"no step has the id {key}"
                return self.steps[key].outputs.get(output, "") if key in self.steps else ""
            case ["github", "event", "repository", "default_branch"]:
                return "main"
        raise AssertionError(f"{name} is not known here")
