"""The bill of materials: what it says, and that CycloneDX' own schema takes it."""

from __future__ import annotations

import builtins
import json
import os
import shutil

import pytest
from command_line import MODELS, invoke, write_recipe
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from loramerge import read_recipe, run
from loramerge.artifact.in_toto import STATEMENT, Statement
from loramerge.errors import ExitCode, LoramergeError
from loramerge.lock.model import LockedSource
from loramerge.provenance.bom import _licences, _model, bill_of_materials

SHA256 = "a" * 64


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bom")
    loras = {name: MODELS / f"{name}.safetensors" for name in ("ink", "glow")}
    outputs = [{"kind": "adapter", "format": name} for name in ("peft", "kohya")]
    recipe = write_recipe(folder, base=MODELS / "base", loras=loras, outputs=outputs, license="mit", description="Ä")
    return run(read_recipe(recipe), out=folder / "out", device="cpu").artifact


def test_it_is_what_cyclonedx_takes(artifact):
    text = bill_of_materials(artifact)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert bill_of_materials(artifact) == text
    assert str(MODELS) not in text


def test_it_names_what_came_out_and_what_went_in(artifact):
    bill = json.loads(bill_of_materials(artifact))
    whole = bill["metadata"]["component"]
    assert (whole["name"], whole["type"], whole["description"]) == ("small", "machine-learning-model", "Ä")
    assert whole["licenses"] == [{"license": {"acknowledgement": "declared", "id": "MIT"}}] or whole["licenses"] == [
        {"license": {"id": "MIT"}}
    ]
    statement = Statement.parse((artifact / STATEMENT).read_text())
    assert {each["name"]: each["hashes"][0]["content"] for each in whole["components"]} == statement.subjects
    models = {each["bom-ref"]: each for each in bill["components"]}
    assert [*models] == ["base", "lora/glow", "lora/ink"]
    assert {each["name"]: each["value"] for each in models["lora/ink"]["properties"]} == {
        "loramerge:role": "LoRA", "loramerge:name": "ink", "loramerge:weight": "1.0",
    }  # fmt: skip
    assert len(models["lora/ink"]["hashes"]) == 1
    assert {"ref": "artifact", "dependsOn": ["base", "lora/glow", "lora/ink"]} in bill["dependencies"]
    tools = {each["name"]: each["version"] for each in bill["metadata"]["tools"]["components"]}
    assert {"loramerge", "torch", "peft"} <= tools.keys()
    assert "timestamp" not in bill["metadata"]


def test_a_source_of_the_hub_has_a_package_url():
    source = LockedSource(
        source="hf://Owner/Name/sub/a.safetensors", commit="b" * 40, licence="openrail++",
        files={"sub/a.safetensors": {"size": 1, "sha256": SHA256}},
    )  # fmt: skip
    found = _model("lora/a", source, {"role": "LoRA"})
    assert str(found.purl) == f"pkg:huggingface/Owner/name@{'b' * 40}#sub/a.safetensors"
    assert [each.name for each in found.licenses] == ["openrail++"]
    assert [each.id for each in _licences("apache-2.0")] == ["Apache-2.0"]
    assert _licences(None) == []


def test_the_command(artifact, tmp_path):
    result = invoke("bom", artifact)
    assert result.stdout == bill_of_materials(artifact)
    assert invoke("bom", artifact, "-o", tmp_path / "bom.cdx.json").exit_code == ExitCode.DONE
    assert (tmp_path / "bom.cdx.json").read_text(encoding="utf-8") == result.stdout
    assert invoke("bom", tmp_path / "nowhere").exit_code == ExitCode.FAILED


def test_a_file_that_is_there_is_replaced_by_wish_alone(artifact, tmp_path):
    there = tmp_path / "recipe.yaml"
    there.write_text("mine")
    refused = invoke("bom", artifact, "-o", there)
    assert refused.exit_code == ExitCode.USAGE
    assert refused.stderr.startswith(f"error: {there} exists\nhint: choose another with -o, or replace it")
    assert there.read_text() == "mine"
    assert invoke("bom", artifact, "-o", there, "--force").exit_code == ExitCode.DONE
    assert there.read_text(encoding="utf-8") == bill_of_materials(artifact)
    (tmp_path / "link").symlink_to(there)
    assert invoke("bom", artifact, "-o", tmp_path / "link", "--force").exit_code == ExitCode.DONE
    assert (tmp_path / "link").is_symlink()
    assert invoke("bom", artifact, "-o", os.devnull).exit_code == ExitCode.DONE
    lost = invoke("bom", artifact, "-o", tmp_path / "nowhere" / "bom.json")
    assert f"hint: there is no folder {tmp_path / 'nowhere'}" in lost.stderr
    assert "name a file, or leave the option out" in invoke("bom", artifact, "-o", "").stderr


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("provenance.json", None, "has no provenance.json, so nothing says what its files are"),
        ("provenance.json", "{", "provenance.json can't be read"),
        ("recipe.yaml", None, "has no recipe.yaml, so it is no artifact"),
        ("recipe.lock.yaml", "a: 1", "recipe.lock.yaml"),
    ],
)
def test_papers_that_are_missing_or_damaged(artifact, tmp_path, file, content, said):
    place = shutil.copytree(artifact, tmp_path / "copy")
    (place / file).unlink()
    if content is not None:
        (place / file).write_text(content)
    result = invoke("bom", place)
    assert result.exit_code in (ExitCode.FAILED, ExitCode.INVALID_RECIPE)
    assert said in result.stderr


def test_without_a_report_there_is_no_licence(artifact, tmp_path):
    place = shutil.copytree(artifact, tmp_path / "copy")
    (place / "report.json").unlink()
    assert "licenses" not in json.loads(bill_of_materials(place))["metadata"]["component"]


def test_without_the_library(artifact, monkeypatch):
    known = builtins.__import__

    def importing(name, *rest):
        if name.startswith("cyclonedx"):
            raise ImportError("No module named 'cyclonedx'")
        return known(name, *rest)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(LoramergeError, match="which can't be imported: No module named") as caught:
        bill_of_materials(artifact)
    assert caught.value.hint == "pip install 'loramerge[bom]'"
