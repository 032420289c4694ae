"""What lies beside a LoRA for the programs that show it: written, verified, published, and theirs to write into."""

import json

import pytest
from command_line import MODELS, invoke, write_recipe

from loramerge import read_recipe, run, verify
from loramerge.errors import InvalidRecipeError, VerificationError
from loramerge.files.digest import sha256_of

pytestmark = pytest.mark.slow

NAMES = ["small.json", "small.metadata.json", "small.safetensors"]
INK = MODELS / "ink.safetensors"
KOHYA = {"kind": "adapter", "format": "kohya", "sidecars": True}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(folder, *outputs, **more):
    loras = {
        "ink": {"source": str(MODELS / "ink.safetensors"), "weight": 0.7},
        "glow": str(MODELS / "glow.safetensors"),
    }
    defaults = {"name": "small", "base": MODELS / "base", "loras": loras, "description": "Bears in ink."}
    return write_recipe(folder, outputs=list(outputs or [KOHYA]), **(defaults | more))


def listed(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".loramerge")


def test_both_formats_have_them_where_they_are_asked_for(here):
    given = recipe(here, KOHYA, {"kind": "adapter", "format": "comfyui", "sidecars": True, "name": "ui"})
    done = run(read_recipe(given), out="out")
    assert [listed(done.artifact / each) for each in ("kohya", "ui")] == [NAMES, NAMES]
    file = done.artifact / "kohya" / "small.safetensors"
    shown = json.loads(file.with_suffix(".json").read_text())
    assert shown["description"] == "Bears in ink."
    assert shown["sd version"] == "SDXL"
    assert shown["preferred weight"] == 1.0
    known = json.loads((file.parent / "small.metadata.json").read_text())
    assert (known["sha256"], known["size"]) == (sha256_of(file), file.stat().st_size)
    assert (known["file_name"], known["base_model"], known["preview_url"]) == ("small", "SDXL 1.0", "")
    # ComfyUI-Lora-Manager leaves out a LoRA where one of these is missing.
    needed = {"file_name", "model_name", "file_path", "size", "modified", "sha256", "base_model", "preview_url"}
    assert needed <= known.keys()
    assert {f"kohya/{name}" for name in NAMES} <= verify("out").provenance.files.keys()
    card = (done.artifact / "README.md").read_text()
    assert "kohya/small.safetensors kohya/small.json kohya/small.metadata.json" in card
    (file.parent / "small.json").write_text("{}")
    with pytest.raises(VerificationError, match=r"kohya/small.json was changed"):
        verify("out")


def test_there_are_none_by_default(here):
    done = run(read_recipe(recipe(here, {"kind": "adapter", "format": "kohya"})), out="out")
    assert listed(done.artifact / "kohya") == ["small.safetensors"]


@pytest.mark.slow
def test_a_picture_of_the_merge_lies_there_with_a_preview(here):
    preview = {"prompts": ["a bear", "a fox"], "seeds": [1], "steps": 1, "width": 64, "height": 64}
    done = run(read_recipe(recipe(here, preview=preview)), out="out")
    folder = done.artifact / "kohya"
    assert listed(folder) == sorted([*NAMES, "small.preview.png"])
    drawn = sorted((done.artifact / "preview").glob("*-merged.png"))
    assert (folder / "small.preview.png").read_bytes() == drawn[0].read_bytes()
    assert json.loads((folder / "small.metadata.json").read_text())["preview_url"] == "small.preview.png"
    assert "kohya/small.preview.png" in verify("out").provenance.dependent


def publishing(here, **more):
    return recipe(here, publish=[{"kind": "folder", "path": "ui", "outputs": ["kohya"]}], **more)


def test_they_are_published_beside_the_lora(here):
    (here / "ui").mkdir()
    (here / "ui" / "theirs.safetensors").write_text("theirs")
    assert invoke("run", publishing(here)).exit_code == 0
    assert listed(here / "ui") == [*NAMES, "theirs.safetensors"]
    assert invoke("plan", "small.yaml").exit_code == 0


def test_what_lies_there_already_is_nobody_elses(here):
    (here / "ui").mkdir()
    (here / "ui" / "small.json").write_text("{}")
    given = publishing(here)
    assert "small.json" in invoke("plan", given).stdout
    done = invoke("run", given)
    assert "it holds small.json, which this recipe did not put there" in done.stderr
    assert (here / "ui" / "small.json").read_text() == "{}"


def test_what_a_program_writes_into_them_stays(here):
    assert invoke("run", publishing(here)).exit_code == 0
    place = here / "ui" / "small.metadata.json"
    theirs = json.loads(place.read_text()) | {"file_path": "/somewhere/small.safetensors", "favorite": True}
    place.write_text(json.dumps(theirs | {"notes": "mine"}))
    shown = here / "ui" / "small.json"
    assert invoke("plan", "small.yaml").exit_code == 0
    before = place.read_text()
    assert "up to date" in invoke("run", "small.yaml").stdout
    assert place.read_text() == before
    publishing(here, description="Stars in ink.", loras={"ink": str(INK)})
    assert invoke("run", "small.yaml").exit_code == 0
    now = json.loads(place.read_text())
    assert (now["favorite"], now["notes"], now["file_path"]) == (True, "mine", "/somewhere/small.safetensors")
    assert now["sha256"] == sha256_of(here / "ui" / "small.safetensors")
    assert json.loads(shown.read_text())["description"] == "Stars in ink."
    assert invoke("plan", "small.yaml").exit_code == 0
    place.write_text("no JSON")
    assert "small.metadata.json was changed" in invoke("plan", "small.yaml").stdout


def test_two_recipes_do_not_take_them_from_each_other(here):
    done = invoke("plan", publishing(here), publishing(here, name="small.metadata"))
    assert "small.metadata.yaml would replace small.metadata.json of" in done.output


@pytest.mark.parametrize("name", ["report", "Provenance"])
def test_a_name_of_the_artifacts_papers_is_refused(here, name):
    with pytest.raises(InvalidRecipeError, match=rf"{name}.json would lie beside the file") as refused:
        read_recipe(recipe(here, name=name))
    assert "outputs.0.sidecars" in str(refused.value)
