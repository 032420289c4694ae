"""One document under --json, whatever happens: as its schema says (`invoke` compares), and with all that was done."""

from __future__ import annotations

import json
import shutil

import artifacts
import pytest
from command_line import ROOT, fits, invoke, write_recipe
from jsonschema import Draft202012Validator

from loramerge.cli.commands import NAMES, commands
from loramerge.cli.output import schema
from loramerge.errors import ExitCode

pytestmark = pytest.mark.slow


@pytest.fixture
def recipes(here, models):
    """Three recipes; the LoRA of the second is not there."""
    for name, lora in {"a": models.ink, "b": "nowhere.safetensors", "c": models.glow}.items():
        write_recipe(here, name=name, base=models.base, loras={"ink": lora})
    return ["a.yaml", "b.yaml", "c.yaml"]


def test_the_committed_schema_is_the_generated_one():
    assert (ROOT / "schemas" / schema.FILE).read_text(encoding="utf-8") == schema.text()
    Draft202012Validator.check_schema(schema.schema())


def test_every_command_that_has_json_has_a_schema():
    known = {name: {each.name for each in commands.get_command(None, name).params} for name in NAMES}
    assert {name for name, options in known.items() if "as_json" in options} == {*schema.DOCUMENTS}


def test_every_key_is_explained():
    for name, definition in schema.schema()["$defs"].items():
        assert definition["description"].endswith("."), name
        for key, value in definition.get("properties", {}).items():
            assert value["description"].endswith("."), f"{name}.{key}"


def test_it_tells_other_documents_apart():
    with pytest.raises(AssertionError, match="run --json"):
        fits("run", json.dumps([{"recipe": "a.yaml", "name": "a", "status": "done"}]))
    with pytest.raises(AssertionError, match="verify --json"):
        fits("verify", json.dumps([{"artifact": "x", "verified": True}]))


def test_run_tells_what_came_before_a_failure(here, models, parsed):
    for name, rank in {"a": 4, "b": 5, "c": 4}.items():
        write_recipe(here, name=name, base=models.base, loras={"ink": {"source": str(models.ink), "rank": rank}})
    done = invoke("run", ".", "--json")
    assert done.exit_code == ExitCode.MISMATCH
    assert [each["status"] for each in parsed(done)] == ["built", "failed", "not started"]
    again = parsed(invoke("run", ".", "--json", "--keep-going"))
    assert [each["status"] for each in again] == ["up to date", "failed", "built"]


def test_run_tells_what_came_before_an_interruption(here, models, parsed, monkeypatch):
    for name in ("a", "b"):
        write_recipe(here, name=name, base=models.base, loras={"ink": models.ink})
    written = iter([False, True])

    def interrupted(*_):
        if next(written):
            raise KeyboardInterrupt

    monkeypatch.setattr("loramerge.stages.run.check_preview", interrupted)
    done = invoke("run", ".", "--json")
    assert done.exit_code == ExitCode.INTERRUPTED
    assert [each["status"] for each in parsed(done)] == ["built", "failed"]


def test_lock_tells_what_was_written_beside_a_failure(recipes, here, parsed):
    done = invoke("lock", *recipes, "--json")
    assert done.exit_code == ExitCode.BAD_SOURCE
    assert [each["status"] for each in parsed(done)] == ["wrote", "failed", "wrote"]
    assert (here / "c.lock.yaml").exists()
    checked = invoke("lock", *recipes, "--check", "--json")
    assert [each["status"] for each in parsed(checked)] == ["unchanged", "failed", "unchanged"]


def test_a_stray_lock_is_in_the_document(recipes, here, parsed):
    assert invoke("lock", "a.yaml").exit_code == ExitCode.DONE
    (here / "a.yaml").unlink()
    (here / "b.yaml").unlink()
    *_, found = parsed(invoke("lock", ".", "--check", "--if-locked", "--json"))
    assert (found["status"], found["lock"]) == ("stray", "a.lock.yaml")
    for command in ("plan", "run"):
        *_, found = parsed(invoke(command, ".", "--json"))
        assert "a.lock.yaml is the lock of a.yaml, which is not there" in found["message"]


def test_publish_tells_what_came_before_a_failure(here, models, parsed):
    for name in ("a", "b", "c"):
        publish = [{"kind": "folder", "path": f"models/{name}"}]
        write_recipe(here, name=name, base=models.base, loras={"ink": models.ink}, publish=publish)
    assert invoke("run", ".", "--no-publish").exit_code == ExitCode.DONE
    shutil.move("dist/b", "elsewhere")
    done = invoke("publish", ".", "--json")
    assert done.exit_code == ExitCode.NOT_PUBLISHED
    assert [each["status"] for each in parsed(done)] == ["not started", "failed", "not started"]
    assert not (here / "models").exists()
    shutil.move("elsewhere", "dist/b")
    (here / "models").mkdir()
    (here / "models/c").write_text("in the way")
    assert [each["status"] for each in parsed(invoke("publish", ".", "--json"))][2] == "failed"
    (here / "models/c").unlink()
    assert [each["status"] for each in parsed(invoke("publish", ".", "--json"))] == ["published"] * 3


def test_verify_tells_all_that_it_could_look_at(tmp_path, parsed):
    folder = artifacts.workspace(tmp_path)
    artifact = artifacts.artifact(folder)
    done = invoke("verify", "nowhere", artifact, "--json")
    assert done.exit_code == ExitCode.BAD_SOURCE
    assert [each["verified"] for each in parsed(done)] == [False, True]
    (artifact / "recipe.yaml").unlink()
    assert invoke("verify", "nowhere", artifact, "--json").exit_code == ExitCode.FAILED
    assert invoke("verify", artifact, "--json").exit_code == ExitCode.NOT_VERIFIED


def test_inspect_tells_all_that_it_could_read(models, parsed, here):
    done = invoke("inspect", models.ink, "nowhere.safetensors", models.glow, "--json")
    assert done.exit_code == ExitCode.BAD_SOURCE
    ink, missing, glow = parsed(done)
    assert (ink["reference"], glow["reference"]) == (str(models.ink), str(models.glow))
    assert missing["error"]["exit_code"] == ExitCode.BAD_SOURCE
    assert [each["with"] for each in ink["overlap"]] == [str(models.glow)]


def test_merge_and_resize(models, here, parsed):
    given = ("--base", models.base, "-o", "x.safetensors", "--json")
    assert parsed(invoke("merge", models.ink, models.glow, *given))["family"] == "sdxl"
    assert "exists" in parsed(invoke("merge", models.ink, models.glow, *given))["error"]["message"]
    given = ("--base", models.base, "--rank", "2", "-o", "y.safetensors", "--json")
    assert parsed(invoke("resize", models.ink, *given))["ranks"] == [2]
    assert "error" in parsed(invoke("resize", "nowhere.safetensors", *given))


@pytest.mark.parametrize("command", schema.DOCUMENTS)
def test_wrong_usage_is_a_document_of_every_command(command, parsed, here):
    for arguments in (("--nope",), ("nowhere.yaml", "--nope")):
        done = invoke(command, *arguments, "--json")
        assert done.exit_code == ExitCode.USAGE
        assert set(parsed(done)) == {"error"}


@pytest.mark.parametrize("command", ["run", "plan", "lock", "publish", "validate", "preview"])
def test_a_recipe_that_can_not_be_read(command, parsed, here):
    (here / "bad.yaml").write_text("version: 2\n")
    assert invoke(command, "bad.yaml", "--json").exit_code == ExitCode.INVALID_RECIPE
