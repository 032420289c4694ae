from __future__ import annotations

import re
import shutil

import artifacts
import pytest
from command_line import invoke

from loramerge.errors import ExitCode


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace with an artifact."""
    folder = artifacts.workspace(tmp_path_factory.mktemp("made"))
    artifacts.artifact(folder)
    artifacts.artifact(folder, name="svd", merge={"combination_type": "svd", "svd_rank": 3})
    return folder


@pytest.fixture
def damaged(made, tmp_path):
    """An artifact with one file changed and one missing."""
    artifact = shutil.copytree(made / "out" / "small", tmp_path / "damaged")
    (artifact / "recipe.yaml").unlink()
    (artifact / "report.json").write_text("{}")
    return artifact


def test_everything_wrong_is_said_of_every_artifact(made, damaged):
    result = invoke("verify", damaged, made / "out" / "small")
    assert result.exit_code == ExitCode.NOT_VERIFIED
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert errors[0] == f"error: {damaged}: recipe.yaml is missing"
    assert errors[1].startswith(f"error: {damaged}: report.json was changed: its sha256 is ")
    assert len(errors) == 2
    assert result.stdout == f"{made / 'out' / 'small'}: 5 files, all as the provenance of small says\n"


def test_as_json(made, damaged, parsed):
    result = invoke("verify", damaged, made / "out" / "small", "--json")
    assert result.exit_code == ExitCode.NOT_VERIFIED
    assert result.stderr == ""
    bad, good = parsed(result)
    assert bad["verified"] is False
    assert [(each["kind"], each["file"]) for each in bad["findings"]] == [
        ("missing", "recipe.yaml"), ("changed", "report.json"),
    ]  # fmt: skip
    assert good == {
        "artifact": str(made / "out" / "small"), "verified": True, "recipe": "small", "files": 5, "findings": [],
        "left_out": [], "words_of_others": False, "signature": None, "rebuilt": None,
    }  # fmt: skip


def test_made_again(made, parsed):
    arguments = ("verify", made / "out" / "small", "--rebuild", "--recipe", made / "small.yaml")
    result = invoke(*arguments)
    assert result.exit_code == ExitCode.DONE
    assert result.stdout.endswith("  made again: 5 files, identical to the byte\n")
    (found,) = parsed(invoke(*arguments, "--json"))
    assert found["rebuilt"]["within_tolerance"] == {}
    assert len(found["rebuilt"]["identical"]) == 5


def test_a_tolerance_is_said(made, tmp_path):
    artifact = shutil.copytree(made / "out" / "svd", tmp_path / "svd")
    name = "diffusers/pytorch_lora_weights.safetensors"
    artifacts.scaled(artifact / name, 1 + 1e-6)
    artifacts.told(artifact, [name])
    result = invoke("verify", artifact, "--rebuild", "--recipe", made, "-v")
    assert result.exit_code == ExitCode.DONE
    assert "  made again: 4 identical to the byte, 1 within tolerance\n" in result.stdout
    assert re.search(r"relative error of the deltas: at most \d\.\de-0[67], allowed 1e-04\n", result.stdout)
    assert f"      {name}: relative error of the deltas " in result.stdout


def test_made_again_from_another_input(made, tmp_path):
    workspace = shutil.copytree(made, tmp_path / "workspace")
    artifacts.write_lora(workspace / "a.safetensors", seed=9)
    result = invoke("verify", made / "out" / "small", "--rebuild", "--recipe", workspace)
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert re.search(r"loras.a \(a.safetensors\): a.safetensors has \d+ bytes with sha256", result.stderr)
    assert "hint: give the inputs that the artifact was made of" in result.stderr


def test_made_again_without_knowing_where(made):
    result = invoke("verify", made / "out" / "small", "--rebuild")
    assert result.exit_code == ExitCode.USAGE
    assert "hint: say where that is with --recipe PATH" in result.stderr


@pytest.mark.parametrize(
    ("content", "words"), [(None, "there is no provenance.json"), ("{", "provenance.json is damaged: ")]
)
def test_without_a_sound_provenance(made, tmp_path, content, words):
    artifact = shutil.copytree(made / "out" / "small", tmp_path / "small")
    (artifact / "provenance.json").unlink()
    if content is not None:
        (artifact / "provenance.json").write_text(content)
    result = invoke("verify", artifact)
    assert result.exit_code == ExitCode.NOT_VERIFIED
    assert words in result.stderr


def test_no_artifact(tmp_path):
    result = invoke("verify", tmp_path / "absent")
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "is no folder" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"), [(["--recipe", "."], "for --rebuild"), (["--partial"], "whose signature is checked")]
)
def test_an_option_that_would_do_nothing_is_wrong_usage(made, options, said):
    result = invoke("verify", made / "out" / "small", *options)
    assert result.exit_code == ExitCode.USAGE
    assert said in result.stderr
