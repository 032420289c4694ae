"""Pictures of an artifact: the merge is drawn by what was written, and too little memory costs pictures alone."""

from __future__ import annotations

import json
import sys

import forked
import little_memory
import pytest
import tiny
from drawn import far, recipe_of, text

from loramerge import read_recipe, run, verify
from loramerge.errors import MismatchError

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]


@pytest.fixture(scope="module")
def scarce(tmp_path_factory):
    """Folder, status and errors of two commands, each with 300 MiB of address space to draw in."""
    large = {"width": 8192, "height": 8192}
    commands = {"run": ("--set", "preview.batch_size=2"), "preview": ()}
    found = {}
    for command, options in commands.items():
        folder = tmp_path_factory.mktemp(command)
        outputs = {"outputs": [{"kind": "pipeline"}]} if command == "run" else {}
        recipe = recipe_of(folder, preview=large, **outputs)
        with (folder / "said.txt").open("w+") as errors:
            arguments = (command, str(recipe), *options, "--device", "cpu")
            running = forked.start(little_memory.command, *arguments, cwd=folder, stderr=errors.fileno())
            running.join()
            errors.seek(0)
            found[command] = folder, running.exitcode, errors.read()
    return found


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    outputs = [{"kind": "pipeline", "dtype": "float16", "lora_scale": 0.5}, {"kind": "adapter", "format": "peft"}]
    path = recipe_of(folder, outputs=outputs)
    return path, run(read_recipe(path), out=folder / "out").artifact


def test_the_merge_is_drawn_by_the_pipeline_that_was_written(artifact, tmp_path):
    from diffusers import StableDiffusionPipeline
    from torch import Generator, float32

    place = artifact[1] / "preview"
    pipeline = StableDiffusionPipeline.from_pretrained(artifact[1] / "pipeline").to(float32)
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2, "guidance_scale": 2.0, "generator": Generator().manual_seed(0)}
    pipeline("a bowl", **options).images[0].save(tmp_path / "x.png")
    assert far(tmp_path / "x.png", place / "01-merged.png") <= 1
    said = text(place / "01-merged.png")
    assert (said["pipeline"], said["lora_scale"]) == ("fused, float16", "0.5")
    assert far(place / "01-stacked.png", place / "01-merged.png") > 5


def test_what_was_drawn_is_verified_and_comes_out_the_same_again(artifact):
    recipe, place = artifact
    names = {name for name in verify(place).provenance.files if name.startswith("preview/")}
    assert len(names) == 2 * 5 + 2
    rebuilt = verify(place, rebuild=True, recipe=recipe).rebuilt
    assert names <= set(rebuilt.identical)


def test_a_preview_that_can_not_be_drawn_is_refused_before_the_merge(tmp_path, monkeypatch):
    monkeypatch.setattr("loramerge.stages.run.combine", lambda *_, **__: pytest.fail("it was merged"))
    recipe = read_recipe(recipe_of(tmp_path, preview={"prompts": ["bear " * 30]}))
    with pytest.raises(MismatchError, match="has 122 tokens"):
        run(recipe, out=tmp_path / "out")


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited in Linux's way")
def test_too_little_memory_for_pictures_leaves_the_artifact(scarce):
    folder, status, errors = scarce["run"]
    assert status == 0, errors
    assert "warning: small: there are no pictures: preview: there is not enough memory" in errors
    assert "for pictures of 8192×8192 pixels, 2 at once, with preview.memory: auto" in errors
    assert "lower preview.batch_size from 2, or set preview.memory: tiled, or lower preview.width" in errors
    artifact = folder / "dist/small"
    assert not (artifact / "preview").exists()
    assert "preview/" not in (artifact / "README.md").read_text()
    assert any("there are no pictures" in note for note in json.loads((artifact / "report.json").read_text())["notes"])
    verify(str(artifact))
    assert json.loads((artifact / "pipeline/unet/config.json").read_text())["sample_size"] == tiny.SIZE // 2


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited in Linux's way")
def test_too_little_memory_for_a_preview_says_what_to_lower(scarce):
    _, status, errors = scarce["preview"]
    assert status == 1, errors
    assert "error: preview: there is not enough memory for pictures of 8192×8192 pixels" in errors
    assert "hint: set preview.memory: tiled, or lower preview.width and preview.height" in errors
    assert "no picture was finished" in errors
