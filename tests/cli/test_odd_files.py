"""State files and places that are named pipes: nothing is waited for, nothing is replaced, and it is said."""

import os
import shutil

import foreign
import pytest
import tiny
from command_line import invoke, write_recipe

from loramerge.errors import ExitCode

PROVENANCE = "dist/provenance.json"
RUN = ["run", "small.yaml", "--out", "dist"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A recipe with its lock, its artifact and its target."""
    folder = tmp_path_factory.mktemp("finished")
    pairs = foreign.random_lora(
        tiny.shared("sd15"), rank=2, alpha=2.0, seed=1, components=["unet"], modules=r"attn2\.to_k"
    )
    foreign.write_diffusers(pairs, folder / "ink.safetensors")
    publish = [{"kind": "folder", "path": "loras"}]
    path = write_recipe(
        folder, base=tiny.folder("sd15"), loras={"ink": "ink.safetensors"}, publish=publish, license="mit"
    )
    assert invoke("run", path, "--out", folder / "dist").exit_code == ExitCode.DONE
    assert invoke("lock", path).exit_code == ExitCode.DONE
    return folder


@pytest.fixture
def folder(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "x")
    monkeypatch.chdir(tmp_path / "x")
    return tmp_path / "x"


def as_pipe(file):
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("file", "arguments", "code", "said"),
    [
        (PROVENANCE, ["verify", "dist"], ExitCode.NOT_VERIFIED, "there is no provenance.json"),
        (PROVENANCE, [*RUN, "--rebuild"], ExitCode.FAILED, "never replaced"),
        (PROVENANCE, [*RUN, "--rebuild", "--force"], ExitCode.FAILED,
         "dist/provenance.json is a named pipe, which is never replaced"),
        ("dist/recipe.yaml", ["plan", "small.yaml", "--out", "dist"], ExitCode.FAILED, "never replaced"),
        ("small.lock.yaml", ["plan", "small.yaml"], ExitCode.INVALID_RECIPE, "it is a named pipe"),
        ("loras/.loramerge/small.json", ["plan", "small.yaml"], ExitCode.NOT_PUBLISHED, "refuse"),
        ("ink.safetensors", ["inspect", "ink.safetensors"], ExitCode.BAD_SOURCE, "neither a file nor a folder"),
        ("small.yaml", ["validate", "small.yaml"], ExitCode.INVALID_RECIPE, "empty"),
    ],
)  # fmt: skip
def test_a_pipe_in_the_place_of_a_file_stops_nobody(file, arguments, code, said, folder):
    as_pipe(folder / file)
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert said in result.output
    assert (folder / file).is_fifo()


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_pipe_in_a_target_stays(force, folder):
    published = next((folder / "loras").glob("*.safetensors"))
    as_pipe(published)
    result = invoke(*RUN, *force)
    assert result.exit_code == ExitCode.NOT_PUBLISHED, result.output
    assert f"has a named pipe in {published.name}, which is never replaced" in result.output
    assert "move it away" in result.output
    assert published.is_fifo()
