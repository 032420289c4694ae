"""What strangers wrote reaches the card and the page as text: in every field that holds any."""

from __future__ import annotations

import json
import re

import artifacts
import pytest
import yaml

from loramerge.recipe import parse
from loramerge.reports.card import model_card
from loramerge.reports.page import html

STEERING = "\u202e\u2066\u200b\x1b\x07\u2028\x85\ufeff"
HOSTILE = f'{STEERING}<script>alert(1)</script>"><img src=x onerror=alert(1)>--><!-- | `x` [y](javascript:z)'
SEEN = re.compile(f"[{STEERING}]")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recipe and its report, every text in which is hostile."""
    folder = artifacts.workspace(tmp_path_factory.mktemp("hostile"))
    artifact = artifacts.artifact(folder, report="full")
    report = json.loads((artifact / "report.json").read_text(encoding="utf-8"))
    report["notes"] = [HOSTILE, f"`{HOSTILE}` is left out"]
    report["license"] = report["base"]["revision"] = report["base"]["source"] = HOSTILE
    report["environment"][HOSTILE] = HOSTILE
    for lora in report["loras"]:
        lora["revision"] = lora["source"] = lora["format"] = HOSTILE
        lora["trigger_phrases"] = [HOSTILE]
        lora["files"][0]["name"] = HOSTILE
    description, prompt = json.dumps(HOSTILE), json.dumps(f"{HOSTILE} ```")
    text = (artifact / "recipe.yaml").read_text(encoding="utf-8")
    preview = f"preview: {{prompts: [{prompt}], steps: 1}}\n"
    changed = f"description: {description}\n{preview}# {HOSTILE.replace(STEERING, STEERING[:3])}\n{text}"
    return parse(changed, origin="hostile", folder=folder), report


def test_the_model_card(made):
    recipe, report = made
    card = model_card(recipe, report, licence="mit", trigger_phrases=[HOSTILE])
    assert not SEEN.search(card)
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    assert not SEEN.search(json.dumps(yaml.safe_load(front), ensure_ascii=False))
    prose = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", body, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"\A\s*<!-- .*?-->", "", prose, flags=re.DOTALL).rpartition("<!-- ")[0]
    assert not re.search(r"<(?!/?code)", re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", prose))


def test_the_report_in_a_browser(made):
    recipe, report = made
    page = html(recipe, report)
    assert not SEEN.search(page)
    assert page.count("<script") == 1
    assert "onerror=alert(1)>" not in page
    assert "\\u202e" in page
