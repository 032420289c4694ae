"""Recipes whose LoRAs come from a registry and whose artifacts go to one, by the commands."""

import json

import pytest
from artifacts import artifact, workspace
from command_line import invoke, write_recipe

from loramerge.provenance.bom import bill_of_materials

NAME = "tester/small"
FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a base and two LoRAs."""
    return workspace(tmp_path_factory.mktemp("registry"))


def recipe(folder, registry, **more):
    target = {"kind": "oci", "repository": f"{registry.host}/{NAME}", "tag": "v1"}
    settings = {"license": "mit", "publish": [target], "name": "small", "base": "base"}
    return write_recipe(folder, **(settings | {"loras": {"a": "a.safetensors"}} | more))


def test_a_recipe_is_published_planned_verified_and_merged_from(registry, made, monkeypatch):
    monkeypatch.chdir(made)
    first = recipe(made, registry)
    assert invoke("run", first).exit_code == 0
    assert invoke("plan", first).exit_code == 0
    place = f"oci://{registry.host}/{NAME}:v1"
    assert "all as the provenance of small says" in invoke("verify", place).output

    second = recipe(
        made,
        registry,
        name="second",
        loras={"a": f"{place}/{FILE}", "b": "b.safetensors"},
        publish=[],
    )
    assert invoke("lock", second).exit_code == 0
    digest = registry.repositories[NAME].tags["v1"]
    assert f"commit: {digest}" in (made / "second.lock.yaml").read_text()
    merged = artifact(
        made,
        name="second",
        loras={"a": f"{place}/{FILE}", "b": "b.safetensors"},
    )
    uri = f"oci://{registry.host}/{NAME}@{digest}/{FILE}"
    assert uri in (merged / "provenance.json").read_text()
    assert f"pkg:oci/small@{digest}?repository_url=" in bill_of_materials(merged)
    assert invoke("verify", merged, "--rebuild", "--recipe", second).exit_code == 0

    recipe(made, registry, loras={"a": {"source": "a.safetensors", "weight": 0.5}})
    assert invoke("run", first).exit_code == 0
    moved = invoke("run", second)
    assert moved.exit_code == 0  # the lock holds the artifact at its digest


def test_a_tag_of_others_is_told_by_plan_and_by_run(registry, made, monkeypatch):
    monkeypatch.chdir(made)
    assert invoke("run", recipe(made, registry, name="theirs")).exit_code == 0
    ours = recipe(made, registry, name="ours")
    planned = invoke("plan", ours)
    assert "refuse" in planned.output
    assert "the recipe theirs" in planned.output
    refused = invoke("run", ours)
    assert refused.exit_code == 7
    assert invoke("run", "--force", ours).exit_code == 0
    said = json.loads(invoke("plan", "--json", ours).stdout)
    assert {step["action"] for each in said for step in [each["artifact"], *each["targets"]]} == {"none"}
