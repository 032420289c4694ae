from __future__ import annotations

import shutil

import pytest
from command_line import invoke, listing, write_recipe
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from secrets_scan import on_purpose

from loramerge.errors import ExitCode


@pytest.fixture(autouse=True)
def recipe(here, models):
    return write_recipe(
        here, base=models.base, loras={"ink": models.ink}, publish=[{"kind": "folder", "path": "models"}]
    )


ONE = {"kind": "folder", "path": "models", "outputs": ["kohya"]}
"""A target that takes no papers."""


def two_outputs(here, models, *targets):
    outputs = [{"kind": "adapter", "format": name} for name in ("kohya", "peft")]
    write_recipe(here, base=models.base, loras={"ink": models.ink}, outputs=outputs, publish=[*targets])


def signing_key(folder):
    key = on_purpose(folder / "key.pem")
    made = ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key.write_bytes(made.private_bytes(*form))
    return key


def test_what_was_built_before_is_published_as_it_is(here, parsed):
    assert invoke("run", "small.yaml", "--no-publish").exit_code == ExitCode.DONE
    artifact = listing(here / "dist")
    result = invoke("publish", "small.yaml")
    assert result.exit_code == ExitCode.DONE, result.output
    assert "  published  models\n" in result.stdout
    assert (here / "models/pytorch_lora_weights.safetensors").exists()
    assert listing(here / "dist") == artifact
    assert invoke("publish", "small.yaml").stdout == "small: up to date\n"
    (entry,) = parsed(invoke("publish", "small.yaml", "--json"))
    assert (entry["status"], entry["published"]) == ("up to date", [])


def test_where_every_target_is_up_to_date_another_state_of_the_artifact_is_told_and_left(here, parsed):
    invoke("run", "small.yaml")
    invoke("run", "small.yaml", "--set", "loras.ink.weight=0.5", "--no-publish")
    artifact = listing(here / "dist")
    said = "small: up to date; dist/small is of another state: recipe changed: loras.ink.weight from 0.5 to 1.0\n"
    for command in ("run", "publish"):
        assert invoke(command, "small.yaml").stdout == said
        (entry,) = parsed(invoke(command, "small.yaml", "--json"))
        assert (entry["status"], entry["artifact"]) == ("up to date", None)
    assert listing(here / "dist") == artifact
    refused = invoke("publish", "small.yaml", "--artifact", "dist/small")
    assert refused.exit_code == ExitCode.NOT_PUBLISHED
    said = "dist/small is not what small.yaml asks for: recipe changed: loras.ink.weight from 0.5 to 1.0"
    assert f"{said}\nhint: `loramerge run small.yaml --out dist/small` makes it and publishes it\n" in refused.stderr
    assert invoke("run", "small.yaml", "--out", "dist/small").exit_code == ExitCode.DONE
    assert invoke("publish", "small.yaml", "--artifact", "dist/small").exit_code == ExitCode.DONE


def test_a_recipe_that_goes_nowhere_is_not_said_to_be_published(here, models):
    write_recipe(here, name="other", base=models.base, loras={"ink": models.ink})
    hint = "hint: `loramerge run other.yaml` makes it; it has no `publish:`, and goes nowhere else\n"
    assert hint in invoke("publish", "other.yaml").stderr


def test_a_signature_is_made_also_where_no_target_takes_it(here, models):
    two_outputs(here, models, ONE)
    assert invoke("run", "small.yaml").exit_code == ExitCode.DONE
    assert invoke("run", "small.yaml").stdout == "small: up to date\n"
    key = signing_key(here)
    assert "not signed" in invoke("plan", "small.yaml", "--signed").stdout
    assert "signed    dist/small/model.sig" in invoke("run", "small.yaml", "--sign", key).stdout
    assert invoke("run", "small.yaml", "--sign", key).stdout == "small: up to date\n"


def test_where_a_target_has_the_signature_no_artifact_is_made_for_it(here, models):
    two_outputs(here, models, {"kind": "folder", "path": "all"}, ONE)
    key = signing_key(here)
    assert invoke("run", "small.yaml", "--sign", key).exit_code == ExitCode.DONE
    shutil.rmtree(here / "dist")
    assert invoke("run", "small.yaml", "--sign", key).stdout == "small: up to date\n"
    assert not (here / "dist").exists()


def test_what_one_left_that_was_killed_at_its_very_end_goes_away(here):
    invoke("run", "small.yaml")
    left = [here / ".models.0abcdefg.partial", here / ".models.lock.partial", here / "dist" / ".small.lock.partial"]
    left[0].mkdir()
    for file in left[1:]:
        file.touch()
    assert invoke("publish", "small.yaml").stdout == "small: up to date\n"
    assert [path for path in left if path.exists()] == []


def test_what_was_not_built_is_not_published(here):
    result = invoke("publish", "small.yaml")
    assert result.exit_code == ExitCode.NOT_PUBLISHED
    assert "error: there is no artifact in dist/small\n" in result.stderr
    assert "hint: `loramerge run small.yaml`" in result.stderr


def test_an_artifact_of_an_earlier_recipe_or_changed_by_hand(here, recipe):
    invoke("run", "small.yaml", "--no-publish", "--out", "built")
    text = recipe.read_text()
    recipe.write_text(text.replace("cat", "linear"))
    result = invoke("publish", "small.yaml", "--artifact", "built")
    assert result.exit_code == ExitCode.NOT_PUBLISHED
    assert "recipe changed: merge.combination_type from cat to linear" in result.stderr
    recipe.write_text(text)
    (here / "built/report.json").write_text("{}")
    result = invoke("publish", "small.yaml", "--artifact", "built")
    assert result.exit_code == ExitCode.NOT_PUBLISHED
    assert "drifted: report.json was changed" in result.stderr
    assert not (here / "models").exists()


def test_wrong_usage(recipe, models, here):
    assert invoke("publish", "-").exit_code == ExitCode.USAGE
    write_recipe(here, name="other", base=models.base, loras={"ink": models.ink})
    assert invoke("publish", ".", "--artifact", "x").exit_code == ExitCode.USAGE


def test_what_is_no_artifact_is_said_without_the_systems_words(here):
    (here / "notes").mkdir()
    (here / "notes/mine.txt").write_text("mine")
    result = invoke("publish", "small.yaml", "--artifact", "notes")
    assert result.exit_code == ExitCode.NOT_PUBLISHED
    assert "notes has no recipe.yaml, so it is no artifact" in result.stderr
    assert "Errno" not in result.stderr


def test_the_command_to_run_can_be_copied(here, recipe):
    recipe.rename(here / "my recipe.yaml")
    assert "hint: `loramerge run 'my recipe.yaml'` makes it" in invoke("publish", "my recipe.yaml").stderr
