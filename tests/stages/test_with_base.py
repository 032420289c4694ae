"""A recipe that names no base: its LoRAs tell what they are for, and the lock keeps it."""

from __future__ import annotations

import shutil
import subprocess
import sys

import foreign
import published
import pytest
import small_models
import torch
from command_line import invoke
from hub.environment import CACHE
from safetensors.torch import load_file, save_file

from loramerge import read_recipe
from loramerge.documents import yaml_document
from loramerge.errors import ExitCode
from loramerge.lock import model as locks

OUTPUTS = [{"kind": "adapter", "format": form} for form in ("peft", "kohya")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        foreign.write_diffusers(published.lora("sdxl", seed=seed), tmp_path / f"{name}.safetensors")
    foreign.write_diffusers(published.lora("sd15", seed=2), tmp_path / "other.safetensors")
    return tmp_path


def recipe(here, *, loras=("a", "b"), prefix="", ending=".safetensors", **more):
    data = {
        "version": 1,
        "name": "small",
        "loras": [{"name": name, "source": f"{prefix}{name}{ending}", "weight": 0.5} for name in loras],
        "merge": {"combination_type": "cat", "engine": "factored"},
        "outputs": OUTPUTS,
        "report": "brief",
        **more,
    }
    path = here / "small.yaml"
    path.write_text(yaml_document.dump(data))
    return path


def tensors(artifact):
    """Of every output; metadata name the recipe by its digest."""
    return {
        (file.relative_to(artifact), name): tensor.numpy().tobytes()
        for file in artifact.rglob("*.safetensors")
        for name, tensor in load_file(file).items()
    }


def test_what_comes_out_is_what_the_familys_name_gives(here):
    done = invoke("run", recipe(here))
    assert done.exit_code == ExitCode.DONE, done.output
    assert "the recipe names no base; its LoRAs tell that they are for Stable Diffusion XL" in done.stderr
    told = tensors(here / "dist" / "small")
    assert {file.parts[0] for file, _ in told} == {"peft", "kohya"}
    assert "stabilityai/stable-diffusion-xl-base-1.0" in (here / "dist/small/README.md").read_text()
    assert invoke("plan", "small.yaml").exit_code == ExitCode.DONE
    assert invoke("verify", "dist/small", "--rebuild", "--recipe", "small.yaml").exit_code == ExitCode.DONE
    assert invoke("run", recipe(here, base={"family": "sdxl"}), "--out", "named").exit_code == ExitCode.DONE
    assert tensors(here / "named") == told


def test_the_lock_keeps_what_they_tell(here, monkeypatch):
    path = recipe(here)
    assert invoke("lock", path).exit_code == ExitCode.DONE
    assert locks.read("small.lock.yaml").sources.family.startswith("sdxl")
    assert invoke("lock", path, "--check").exit_code == ExitCode.DONE
    monkeypatch.setattr("loramerge.stages.with_base.told_base", lambda *_: pytest.fail("asked although it is locked"))
    assert invoke("plan", path).exit_code == ExitCode.CHANGES_PENDING
    assert invoke("run", path).exit_code == ExitCode.DONE


def test_a_lock_without_it_is_of_another_recipe(here):
    assert invoke("lock", recipe(here, base={"family": "sdxl"})).exit_code == ExitCode.DONE
    done = invoke("run", recipe(here))
    assert done.exit_code == ExitCode.BAD_SOURCE
    assert "the recipe names no base, and the lock does not say what the LoRAs are for" in done.stderr


def test_other_loras_than_were_locked_are_said(here):
    path = recipe(here)
    assert invoke("lock", path).exit_code == ExitCode.DONE
    for name in "ab":
        shutil.copy("other.safetensors", f"{name}.safetensors")
    done = invoke("lock", path, "--check")
    assert done.exit_code == ExitCode.BAD_SOURCE
    assert "base: family changed from sdxl" in done.stderr


@pytest.mark.parametrize("command", ["run", "plan", "lock"])
def test_loras_of_two_families_are_refused(here, command):
    done = invoke(command, recipe(here, loras=("a", "other")))
    assert done.exit_code == ExitCode.MISMATCH
    assert "other.safetensors is for Stable Diffusion 1.5" in done.stderr
    assert sorted(path.name for path in here.iterdir()) == sorted(
        ["a.safetensors", "b.safetensors", "other.safetensors", "small.yaml"]
    )


def test_where_they_could_be_several_all_are_listed(here):
    down, up = torch.ones(2, 1536), torch.ones(1536, 2)
    name = "diffusion_model.blocks.0.cross_attn.k"
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, here / "a.safetensors")
    done = invoke("run", recipe(here, loras=("a",)))
    assert done.exit_code == ExitCode.MISMATCH
    assert "could be for several models, by its names and shapes: " in done.stderr
    assert "`base: {family: …}` in a recipe" in done.stderr


@pytest.mark.parametrize(
    ("more", "key"),
    [({"outputs": [{"kind": "pipeline"}]}, "outputs.0.kind"), ({"preview": {"prompts": ["a"]}}, "preview")],
)
def test_what_needs_weights_needs_a_source(here, more, key):
    done = invoke("validate", recipe(here, **more))
    assert done.exit_code == ExitCode.INVALID_RECIPE
    assert f"{key}: " in done.stderr
    assert "the recipe names no base; add `base: {source: …}`" in done.stderr


def test_a_base_that_is_there_and_empty_stays_a_mistake(here):
    done = invoke("validate", recipe(here, base={}))
    assert done.exit_code == ExitCode.INVALID_RECIPE
    assert "base: it names no model" in done.stderr


def test_of_loras_on_a_hub_only_headers_are_fetched_to_tell(here, hub):
    for name in "ab":
        hub.repository(f"org/{name}", {"lora.safetensors": (here / f"{name}.safetensors").read_bytes()})
    path = recipe(here, prefix="hf://org/", ending="")
    assert invoke("plan", path).exit_code == ExitCode.CHANGES_PENDING
    assert invoke("lock", path).exit_code == ExitCode.DONE
    assert not list(CACHE.rglob("*.safetensors"))
    assert invoke("run", path).exit_code == ExitCode.DONE


def test_adapters_of_a_language_model_name_theirs(here):
    small_models.save("LlamaForCausalLM", here / "llama")
    for seed, name in enumerate(("x", "y")):
        small_models.lora("LlamaForCausalLM", here / name, seed=seed, trained_on="llama")
    path = recipe(here, loras=("x", "y"), ending="", outputs=[{"kind": "adapter", "format": "peft"}])
    done = invoke("run", path)
    assert done.exit_code == ExitCode.DONE, done.output
    assert "its LoRAs tell that they are for llama" in done.stderr
    assert read_recipe(path).given_base is None
    assert locks.read("dist/small/recipe.lock.yaml").sources.base.source == "llama"
    assert invoke("verify", "dist/small", "--rebuild", "--recipe", path).exit_code == ExitCode.DONE


def test_planning_loads_no_library_for_it(here):
    code = (
        "import sys; from loramerge import plan, read_recipe; plan(read_recipe('small.yaml'));"
        "print(sorted({'torch', 'diffusers', 'transformers', 'peft'} & {*sys.modules}))"
    )
    recipe(here)
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
