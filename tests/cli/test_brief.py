"""`report: brief`: the numbers alone, without what takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import invoke

from loramerge.errors import ExitCode


@pytest.mark.parametrize("report", ["full", "brief"])
def test_a_brief_report_has_no_page_and_no_overlap(recipe, models, report):
    recipe(loras={"ink": models.ink, "glow": models.glow}, report=report)
    done = invoke("run", "small.yaml")
    assert done.exit_code == ExitCode.DONE, done.stderr
    artifact, full = Path("dist/small"), report == "full"
    assert (artifact / "report.html").exists() is full
    assert bool(json.loads((artifact / "report.json").read_text())["overlap"]["pairs"]) is full
    assert ("report.html" in (artifact / "README.md").read_text()) is full
    assert f"report.{'html' if full else 'json'}" in done.stdout
    assert invoke("verify", "dist/small", "--rebuild", "--recipe", "small.yaml").exit_code == ExitCode.DONE
