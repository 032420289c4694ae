"""Several recipes of one call: what can be known is known before any of them is started."""

import shutil
from pathlib import Path

import foreign
import pytest
import tiny
from command_line import invoke, listing, write_recipe

from loramerge.errors import ExitCode

EVERYTHING = [{"kind": "folder", "path": "models"}]
KOHYA = [{"kind": "folder", "path": "models", "outputs": ["kohya"]}]
OUTPUTS = [{"kind": "adapter", "format": "kohya"}, {"kind": "adapter", "format": "diffusers"}]


@pytest.fixture
def recipes(here, models):
    """Write recipes of one LoRA each."""

    def write(*names, **more):
        for name in names:
            write_recipe(here, name=name, base=models.base, loras={"ink": models.ink}, **({"outputs": OUTPUTS} | more))
        return [f"{name}.yaml" for name in names]

    return write


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_recipes_that_take_each_others_files_are_refused_before_anything_is_built(recipes, here, options):
    files = recipes("one", "two", "three", publish=EVERYTHING)
    before = listing(here)
    done = invoke("run", *files, *options)
    assert done.exit_code == ExitCode.NOT_PUBLISHED
    assert "two.yaml would replace README.md, " in done.stderr
    assert "of one.yaml: both publish to " in done.stderr
    assert "`outputs: [kohya]`" in done.stderr
    assert "not started: one.yaml" in done.stderr
    assert listing(here) == before


def test_plan_says_what_run_refuses(recipes, parsed):
    files = recipes("one", "two", publish=EVERYTHING)
    planned = invoke("plan", *files, "--json")
    assert planned.exit_code == ExitCode.NOT_PUBLISHED
    first, second = parsed(planned)
    assert "error" not in first
    assert "of one.yaml: both publish to " in second["error"]["message"]


def test_what_the_hint_says_works(recipes, here):
    files = recipes("one", "two", publish=KOHYA)
    assert invoke("plan", *files).exit_code == ExitCode.CHANGES_PENDING
    assert invoke("run", *files).exit_code == ExitCode.DONE
    assert {path.name for path in (here / "models").iterdir()} >= {"one.safetensors", "two.safetensors"}
    assert invoke("plan", *files).exit_code == ExitCode.DONE


def test_every_recipe_in_the_way_of_another_gets_the_line_to_write(recipes):
    names = ("one", "two", "three", "four", "five")
    done = invoke("run", *recipes(*names, publish=EVERYTHING))
    hints = [line for line in done.stderr.splitlines() if line.startswith("hint: ")]
    assert hints == [
        f"hint: in {name}.yaml say `outputs: [kohya]` in the target, "
        f"or give it a place of its own: `path: models/{name}`"
        for name in names[1:]
    ]


@pytest.mark.parametrize("output", ["diffusers", "peft"])
def test_files_that_are_not_called_after_their_recipe_want_a_place_of_their_own(recipes, output):
    settings = {"outputs": [{"kind": "adapter", "format": output}]}
    done = invoke("run", *recipes("one", "two", publish=[EVERYTHING[0] | {"outputs": [output]}], **settings))
    assert done.exit_code == ExitCode.NOT_PUBLISHED
    assert "hint: in two.yaml give the target a place of its own: `path: models/two`" in done.stderr


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_target_that_refuses_has_one_exit_code(recipes, here, parsed, command):
    (here / "models").mkdir()
    (here / "models" / "one.safetensors").write_text("theirs")
    done = invoke(command, *recipes("one", publish=KOHYA), "--json")
    assert done.exit_code == ExitCode.NOT_PUBLISHED
    (found,) = parsed(done)
    assert "holds one.safetensors, which this recipe did not put there" in found["error"]["message"]
    if command == "plan":
        assert [each["action"] for each in found["targets"]] == ["refuse"]
        assert [line.split()[:2] for line in invoke("plan", "one.yaml").stdout.splitlines()[2:4]] == [
            ["models", "refuse"],
            ["refused:", "it"],
        ]


def test_two_recipes_of_one_repository(recipes, here, hub):
    files = recipes("one", "two", publish=[{"kind": "hub", "repo": "tester/merged"}], license="mit")
    done = invoke("run", *files)
    assert done.exit_code == ExitCode.NOT_PUBLISHED
    assert "both publish to hf://tester/merged@main" in done.stderr
    assert "`repo: tester/two`" in done.stderr
    assert not (here / "dist").exists()


def test_a_target_inside_the_artifact_of_another(recipes, here):
    recipes("one")
    recipes("two", publish=[{"kind": "folder", "path": "dist/one/models"}])
    done = invoke("run", "one.yaml", "two.yaml")
    assert "two.yaml publishes to " in done.stderr
    assert "inside the artifact of one.yaml" in done.stderr
    assert not (here / "dist").exists()


def test_a_later_recipe_that_can_not_be_run_keeps_the_first_from_starting(recipes, here, parsed):
    files = recipes("one", "two")
    text = (here / "two.yaml").read_text()
    (here / "two.yaml").write_text(text.replace("ink.safetensors", "inc.safetensors"))
    done = invoke("run", *files, "--json")
    assert done.exit_code == ExitCode.BAD_SOURCE
    first, second = parsed(done)
    assert first == {"recipe": "one.yaml", "name": "one", "status": "not started"}
    assert second["status"] == "failed"
    assert not (here / "dist").exists()
    done = invoke("run", *files, "--keep-going", "--json")
    assert [each["status"] for each in parsed(done)] == ["built", "failed"]


def test_a_recipe_that_is_made_of_an_earlier_one_waits_for_it(recipes, here, models, parsed):
    recipes("one")
    write_recipe(here, name="two", base=models.base, loras={"one": "dist/one/kohya/one.safetensors"})
    planned = invoke("plan", "one.yaml", "two.yaml")
    assert planned.exit_code == ExitCode.CHANGES_PENDING
    assert "uses what one.yaml makes" in planned.stdout
    done = invoke("run", "one.yaml", "two.yaml", "--json")
    assert [each["status"] for each in parsed(done)] == ["built", "built"]
    assert invoke("plan", "one.yaml", "two.yaml").exit_code == ExitCode.DONE


def test_a_recipe_in_another_folder_than_the_artifacts_waits_as_well(here, models):
    (here / "recipes").mkdir()
    write_recipe(here / "recipes", name="one", base=models.base, loras={"ink": models.ink}, outputs=OUTPUTS)
    write_recipe(here / "recipes", name="two", base=models.base, loras={"one": "../dist/one/kohya/one.safetensors"})
    assert "uses what recipes/one.yaml makes" in invoke("plan", "recipes").stdout
    assert invoke("run", "recipes").exit_code == ExitCode.DONE


def test_a_file_that_contradicts_its_lock_is_known_by_plan(recipes, here, models):
    shutil.copy(models.ink, here / "ink.safetensors")
    write_recipe(here, name="one", base=models.base, loras={"ink": "ink.safetensors"})
    assert invoke("lock", "one.yaml").exit_code == ExitCode.DONE
    shutil.copy(models.glow, here / "ink.safetensors")
    for command in ("plan", "run"):
        done = invoke(command, "one.yaml")
        assert done.exit_code == ExitCode.BAD_SOURCE
        assert "loras.ink (ink.safetensors): ink.safetensors has " in done.stderr
        assert not (here / "dist").exists()


def test_the_one_of_two_loras_that_fits_is_held_to_the_lock(here, models):
    (here / "loras").mkdir()
    shutil.copy(models.ink, here / "loras" / "ink.safetensors")
    pairs = foreign.random_lora(tiny.shared("sd15"), rank=2, alpha=1, seed=0, modules=r"attn1\.to_q$")
    foreign.write_diffusers(pairs, here / "loras" / "other.safetensors")
    write_recipe(here, name="one", base=models.base, loras={"ink": "loras"})
    assert invoke("lock", "one.yaml").exit_code == ExitCode.DONE
    assert invoke("plan", "one.yaml").exit_code == ExitCode.CHANGES_PENDING
    shutil.copy(models.glow, here / "loras" / "ink.safetensors")
    done = invoke("plan", "one.yaml")
    assert done.exit_code == ExitCode.BAD_SOURCE
    assert "loras.ink (loras): ink.safetensors has " in done.stderr


def test_a_base_that_has_another_size_than_in_its_lock_is_known_by_plan(here, models):
    shutil.copytree(models.base, here / "base")
    write_recipe(here, base="base", loras={"ink": models.ink}, outputs=[{"kind": "pipeline"}])
    assert invoke("lock", "small.yaml").exit_code == ExitCode.DONE
    (weights,) = (here / "base" / "unet").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes() + b" ")
    done = invoke("plan", "small.yaml")
    assert done.exit_code == ExitCode.BAD_SOURCE
    assert f"{weights.name} has {weights.stat().st_size} bytes, the lock has " in done.stderr


def test_a_place_that_can_not_be_made_is_known_by_plan(recipes, here):
    recipes("one")
    Path("file").write_text("mine")
    for command in ("plan", "run"):
        done = invoke(command, "one.yaml", "--out", "file/one")
        assert done.exit_code == ExitCode.FAILED
        assert "file is a file" in done.stderr


def test_a_file_in_the_place_of_a_target_s_folder_is_known_by_plan(recipes, here):
    recipes("one", publish=EVERYTHING)
    Path("models").write_text("mine")
    for command in ("plan", "run"):
        done = invoke(command, "one.yaml")
        assert done.exit_code == ExitCode.NOT_PUBLISHED
        assert "models is a file, not a folder" in done.stderr
    assert not (here / "dist").exists()


def test_what_the_merge_of_a_later_recipe_can_not_do_is_known_before(recipes, here):
    recipes("one")
    recipes("two", merge={"combination_type": "ties", "density": 0.5, "engine": "factored"})
    done = invoke("run", "one.yaml", "two.yaml")
    assert done.exit_code == ExitCode.MISMATCH
    assert not (here / "dist").exists()
    recipes("two", merge={"combination_type": "cat", "engine": "factored"})
    done = invoke("run", "one.yaml", "two.yaml", "--reference")
    assert done.exit_code == ExitCode.USAGE
    assert not (here / "dist").exists()


def test_a_device_that_is_not_there_is_known_before(recipes, here, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = invoke("run", *recipes("one", publish=EVERYTHING), "--device", "cuda")
    assert done.exit_code == ExitCode.FAILED
    assert done.stderr.count("error: there is no CUDA device here") == 1
    assert not (here / "dist").exists()
