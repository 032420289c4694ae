from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import QUICKSTART, invoke, listing, process
from hub.example import OWNER

from loramerge.errors import ExitCode
from loramerge.provenance.provenance import Provenance

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The quickstart recipe, run once by the installed program."""
    folder = tmp_path_factory.mktemp("quickstart")
    small = ("--set", "preview.steps=1", "--set", "preview.seeds=[0]")
    done = process("run", QUICKSTART, *small, "--device", "cpu", "-v", cwd=folder)
    artifact = folder / "dist" / "quickstart"
    return SimpleNamespace(done=done, folder=folder, artifact=artifact)


def test_the_quickstart(quickstart):
    assert quickstart.done.returncode == ExitCode.DONE, quickstart.done.stderr
    assert {path.name for path in quickstart.artifact.iterdir()} >= {
        "diffusers", "kohya", "peft", "pipeline", "preview", "recipe.yaml", "report.html", "report.json",
    }  # fmt: skip
    assert [path.name for path in quickstart.folder.iterdir()] == ["dist"]


def test_the_quickstarts_summary(quickstart):
    name, *rows = quickstart.done.stdout.splitlines()
    assert name == "quickstart"
    said = dict(row.strip().split("  ", 1) for row in rows if "  " in row.strip())
    said = {key: value.strip() for key, value in said.items()}
    assert said["merged"] == "ink × 1 (rank 4; kohya), star × 1 (rank 16; diffusers)"
    assert said["type"] == "cat"
    assert said["fidelity"].count("(exact before rounding)") == 3
    rounded = r"diffusers, kohya: float16 loses .{7} of the merge; pipeline: sums rounded to float16"
    assert re.fullmatch(rounded, said["rounding"])
    assert said["artifact"] == "dist/quickstart"
    assert said["kohya"].startswith("1 file, ")
    assert said["report"] == "dist/quickstart/report.html"
    assert said["preview"] == "dist/quickstart/preview/preview.png"
    assert said["time"].endswith(" s")
    assert rows[-6].strip() == "worst modules"


def test_progress_in_lines_where_there_is_no_terminal(quickstart):
    tasks = ["plan", "resolve", "load", "merge", "compare", "write", "preview"]
    assert quickstart.done.stderr.splitlines() == [f"quickstart: {task} …" for task in tasks]


def test_the_quickstart_is_verified(quickstart):
    result = invoke("verify", quickstart.artifact)
    assert result.exit_code == ExitCode.DONE
    assert result.stdout.strip().endswith("files, all as the provenance of quickstart says")


def test_the_run_as_json(recipe, here, parsed):
    recipe(publish=[{"kind": "folder", "path": "models"}])
    result = invoke("run", "small.yaml", "--json")
    assert result.exit_code == ExitCode.DONE
    assert result.stderr == ""
    (done,) = parsed(result)
    assert done["name"] == "small"
    assert done["recipe"] == "small.yaml"
    assert done["artifact"] == str(here / "dist/small")
    assert json.loads((here / "dist/small/report.json").read_text())["recipe"]["name"] == "small"
    assert done["outputs"]["diffusers"]["files"] == 1
    assert done["fidelity"]["unet"] < 1e-6
    assert done["published"] == [{"place": str(here / "models"), "changed": True, "url": None, "commit": None}]
    assert done["preview"] is None
    assert done["status"] == "built"
    (again,) = parsed(invoke("run", "small.yaml", "--json"))
    assert (again["status"], again["published"]) == ("up to date", [])
    (again,) = parsed(invoke("run", "small.yaml", "--rebuild", "--json"))
    assert (again["status"], again["published"][0]["changed"]) == ("built", False)


def test_publishing_is_said(recipe, here):
    recipe(publish=[{"kind": "folder", "path": "models"}])
    first, again = invoke("run", "small.yaml"), invoke("run", "small.yaml", "--rebuild")
    assert "  published    models\n" in first.stdout
    assert "  published    models (there already)\n" in again.stdout
    assert invoke("run", "small.yaml").stdout == "small: up to date\n"


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # httpx2's word to huggingface_hub
def test_publishing_to_a_hub_is_said(recipe, here, hub, monkeypatch, parsed):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    recipe(publish=[{"kind": "hub", "repo": "tester/small"}], license="mit")
    first = invoke("run", "small.yaml")
    head = hub.store.repositories["model", "tester/small"].head
    assert f"  published    {hub.url}/tester/small/tree/main at {head[:8]}\n" in first.stdout
    again = invoke("run", "small.yaml", "--rebuild", "--json")
    place = {"place": "hf://tester/small@main", "url": f"{hub.url}/tester/small/tree/main"}
    assert parsed(again)[0]["published"] == [{**place, "changed": False, "commit": head}]
    assert OWNER not in first.output + again.output
    assert not [path for path in here.rglob("*") if path.is_file() and OWNER.encode() in path.read_bytes()]


def test_a_hub_that_refuses(recipe, here, hub):
    recipe(publish=[{"kind": "hub", "repo": "tester/small"}], license="mit")
    result = invoke("run", "small.yaml")
    assert result.exit_code == ExitCode.NOT_PUBLISHED
    assert "hf auth login" in result.stderr
    assert "; the artifact itself is complete, in dist/small" in result.stderr
    assert (here / "dist/small/README.md").is_file()


def test_a_hub_needs_a_licence_before_anything_is_done(recipe, here):
    recipe(publish=[{"kind": "hub", "repo": "tester/small"}])
    result = invoke("run", "small.yaml")
    assert result.exit_code == ExitCode.MISMATCH
    assert "license:" in result.stderr
    assert not (here / "dist").exists()
    assert invoke("run", "small.yaml", "--no-publish").exit_code == ExitCode.DONE


def test_publishing_can_be_left_out(recipe, here):
    recipe(publish=[{"kind": "folder", "path": "models"}])
    assert "published" not in invoke("run", "small.yaml", "--no-publish").stdout
    assert not (here / "models").exists()


def test_a_target_that_refuses_keeps_the_run_from_starting(recipe, here):
    recipe(publish=[{"kind": "folder", "path": "models", "outputs": ["diffusers"]}])
    (here / "models").mkdir()
    (here / "models/pytorch_lora_weights.safetensors").write_text("somebody else's")
    result = invoke("run", "small.yaml")
    assert result.exit_code == ExitCode.NOT_PUBLISHED
    assert "it holds pytorch_lora_weights.safetensors, which this recipe did not put there" in result.stderr
    assert not (here / "dist").exists()
    assert invoke("plan", "small.yaml").exit_code == ExitCode.NOT_PUBLISHED
    assert invoke("run", "small.yaml", "--force").exit_code == ExitCode.DONE


def test_a_poor_merge_is_a_warning(recipe, models):
    recipe(loras={"ink": models.ink, "again": {"source": str(models.ink), "weight": 0.5}}, merge={
        "combination_type": "ties", "density": 0.2,
    })  # fmt: skip
    result = invoke("run", "small.yaml", "--set", "loras.1.weight={unet: 0.5, text_encoder: 0, text_encoder_2: 0}")
    assert result.exit_code == ExitCode.MISMATCH
    recipe(merge={"combination_type": "svd", "svd_rank": 2})
    result = invoke("run", "small.yaml", "--set", "loras.1.source=" + str(models.ink))
    assert result.exit_code == ExitCode.DONE
    assert "warning: small: the merge is far from the weighted sum" in result.stderr
    assert "  type         svd (svd_rank 2)\n" in result.stdout


def test_the_reference_is_pefts_own_merge(recipe, models):
    recipe(loras={"ink": models.ink, "again": {"source": str(models.ink), "weight": 0.5}}, merge={
        "combination_type": "svd", "svd_rank": 2,
    })  # fmt: skip
    assert invoke("run", "small.yaml", "--reference").exit_code == ExitCode.DONE
    artifact = Path("dist/small")
    assert json.loads((artifact / "report.json").read_text())["reference"] is True
    assert Provenance.parse((artifact / "provenance.json").read_text()).reference is True
    assert invoke("verify", "dist/small", "--rebuild", "--recipe", "small.yaml").exit_code == ExitCode.DONE
    result = invoke("run", "small.yaml", "--reference", "--rebuild", "--set", "merge.engine=factored")
    assert result.exit_code == ExitCode.USAGE
    assert "add --set merge.engine=peft" in result.stderr


def test_a_folder_for_the_artifact_and_another_weight(recipe, here):
    recipe()
    result = invoke("run", "small.yaml", "--out", "elsewhere/x", "--set", "loras.0.weight=0.25")
    assert result.exit_code == ExitCode.DONE
    assert "ink × 0.25" in result.stdout
    assert {path.name for path in here.iterdir()} == {"small.yaml", "elsewhere"}


def test_weights_by_block_are_named_as_such(recipe):
    recipe()
    result = invoke("run", "small.yaml", "--set", "loras.0.weight={unet: {mid: 0.5}}")
    assert "ink × weights by block" in result.stdout


def test_all_recipes_are_checked_before_the_first_runs(recipe, here):
    recipe(name="a")
    recipe(name="b", colour="red")
    result = invoke("run", "a.yaml", "b.yaml")
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert "error: b.yaml:" in result.stderr
    assert set(listing(here)) == {"a.yaml", "b.yaml"}


def test_the_first_failure_ends_it(recipe, here, models):
    recipe(name="a", loras={"ink": {"source": str(models.ink), "rank": 5}})
    recipe(name="b")
    result = invoke("run", ".")
    assert result.exit_code == ExitCode.MISMATCH
    assert "should have rank 5" in result.stderr
    assert not (here / "dist" / "b").exists()


def test_recipes_of_one_name_would_replace_each_other(recipe, here):
    (here / "other.yaml").write_text(recipe().read_text())
    result = invoke("run", "small.yaml", "other.yaml")
    assert result.exit_code == ExitCode.USAGE
    assert "small.yaml and other.yaml are both called small" in result.stderr


def test_one_folder_for_two_artifacts(recipe):
    recipe(name="a")
    recipe(name="b")
    result = invoke("run", "a.yaml", "b.yaml", "--out", "x")
    assert result.exit_code == ExitCode.USAGE
    assert "error: --out is for one recipe, these are 2" in result.stderr


def test_from_init_to_run_in_one_line(here, models):
    wanted = invoke("init", models.ink, models.glow, "--base", models.base, "--name", "both", "-o", "-")
    result = invoke("run", "-", stdin=wanted.stdout)
    assert result.exit_code == ExitCode.DONE, result.output
    assert (here / "dist/both/kohya/both.safetensors").exists()


def test_what_a_run_left_that_was_killed_at_its_very_end_goes_away(recipe, here):
    recipe(publish=[{"kind": "folder", "path": "models"}])
    assert invoke("run", "small.yaml").exit_code == ExitCode.DONE
    left = [
        here / ".models.0abcdefg.partial",
        here / "dist" / ".small.0abcdefg.partial",
        here / "models" / ".pytorch_lora_weights.safetensors.0abcdefg.partial",
        here / "models" / ".loramerge" / ".small.json.0abcdefg.partial",
    ]
    others = [here / ".other.0abcdefg.partial", here / "models" / ".mine.0abcdefg.partial"]
    for folder in (*left, *others):
        folder.mkdir()
        (folder / "old.safetensors").write_bytes(b"old")
    again = invoke("run", "small.yaml")
    assert again.exit_code == ExitCode.DONE
    assert "removing what a killed run left beside " in again.stderr
    assert "up to date" in again.stdout
    assert [folder for folder in left if folder.exists()] == []
    assert [folder for folder in others if not folder.exists()] == []
    for lock in (here / ".models.lock.partial", here / "dist" / ".small.lock.partial"):
        lock.touch()  # all that is left by one that is killed when even its folders are gone
        assert "up to date" in invoke("run", "small.yaml").stdout
        assert not lock.exists()
