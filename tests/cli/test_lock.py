from __future__ import annotations

import shutil

import foreign
import pytest
import tiny
from command_line import invoke, listing, write_recipe
from safetensors.numpy import save

from loramerge import read_lock
from loramerge.errors import ExitCode

INK = "org/ink"


@pytest.fixture
def recipe(hub, here, models):
    """A recipe with a LoRA beside it and one on the Hub."""
    hub.repository(INK, {"ink.safetensors": models.ink.read_bytes()})
    shutil.copy(models.glow, here / "glow.safetensors")
    return write_recipe(
        here, base=models.base, loras={"ink": f"hf://{INK}/ink.safetensors", "glow": "glow.safetensors"}
    )


@pytest.fixture
def move(hub, models):
    """Commits another file to the branch that the recipe names; returns the commits before and after."""

    def move():
        repository = hub.store.repositories["model", INK]
        return repository.head, hub.store.write(repository, {"ink.safetensors": models.glow.read_bytes()})

    return move


def test_a_lock_is_written_beside_the_recipe(recipe, here):
    result = invoke("lock", "small.yaml")
    assert (result.exit_code, result.stdout) == (ExitCode.DONE, "small.lock.yaml: wrote\n")
    assert sorted(listing(here)) == ["glow.safetensors", "small.lock.yaml", "small.yaml"]
    assert read_lock("small.lock.yaml").recipe == "small"


def test_a_lock_that_is_right_is_not_touched(recipe, here):
    invoke("lock", "small.yaml")
    before = (here / "small.lock.yaml").stat()
    result = invoke("lock", "small.yaml")
    assert (result.exit_code, result.stdout) == (ExitCode.DONE, "small.lock.yaml: unchanged\n")
    after = (here / "small.lock.yaml").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_what_one_left_that_was_killed_goes_away_with_a_lock_that_is_right(recipe, here):
    invoke("lock", "small.yaml")
    for name in (".small.lock.yaml.0abcdefg.partial", ".small.lock.yaml.lock.partial"):
        (here / name).touch()
        assert invoke("lock", "small.yaml").stdout == "small.lock.yaml: unchanged\n"
        assert sorted(listing(here)) == ["glow.safetensors", "small.lock.yaml", "small.yaml"]


def test_writing_again_says_what_moved(recipe, move):
    invoke("lock", "small.yaml")
    before, after = move()
    first, moved, changed = invoke("lock", "small.yaml").stdout.splitlines()
    assert first == "small.lock.yaml: wrote"
    assert moved == f"  loras.ink: commit moved from {before} to {after}"
    assert changed.startswith("  loras.ink: ink.safetensors changed from ")
    assert invoke("lock", "small.yaml", "--check").exit_code == ExitCode.DONE


def test_checking_changes_nothing(recipe, move, here):
    invoke("lock", "small.yaml")
    assert invoke("lock", "small.yaml", "--check").stdout == "small.lock.yaml: unchanged\n"
    before, after = move()
    (here / "glow.safetensors").write_bytes(save({}))
    lock = (here / "small.lock.yaml").read_bytes()
    result = invoke("lock", "small.yaml", "--check")
    assert (result.exit_code, result.stdout) == (ExitCode.BAD_SOURCE, "")
    *_, glow, commit, ink, hint = result.stderr.splitlines()
    assert "small.lock.yaml: loras.glow: glow.safetensors changed from " in glow
    assert commit == f"error: small.lock.yaml: loras.ink: commit moved from {before} to {after}"
    assert "small.lock.yaml: loras.ink: ink.safetensors changed from " in ink
    assert hint == "hint: `loramerge lock small.yaml` writes it"
    assert (here / "small.lock.yaml").read_bytes() == lock


def test_checking_without_a_lock(recipe, here):
    result = invoke("lock", "small.yaml", "--check")
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert "error: there is no small.lock.yaml" in result.stderr
    assert not (here / "small.lock.yaml").exists()


def test_every_recipe_of_a_folder_is_checked(recipe, here, models, move):
    write_recipe(here, name="other", base=models.base, loras={"glow": "glow.safetensors"})
    assert invoke("lock", ".").stdout == "other.lock.yaml: wrote\nsmall.lock.yaml: wrote\n"
    move()
    result = invoke("lock", ".", "--check")
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert result.stdout == "other.lock.yaml: unchanged\n"


def test_a_lock_stands_for_its_recipe(recipe, here, move):
    invoke("lock", "small.yaml")
    result = invoke("lock", "--check", "small.lock.yaml", "small.yaml")
    assert (result.exit_code, result.stdout) == (ExitCode.DONE, "small.lock.yaml: unchanged\n")
    move()
    assert invoke("lock", "--check", "small.lock.yaml").exit_code == ExitCode.BAD_SOURCE


def test_a_lock_of_a_recipe_with_the_short_ending(recipe, here):
    recipe.rename(here / "short.yml")
    assert invoke("lock", "short.yml").stdout == "short.lock.yaml: wrote\n"
    assert invoke("lock", "--check", "short.lock.yaml").stdout == "short.lock.yaml: unchanged\n"


def test_a_lock_without_its_recipe(recipe, here):
    invoke("lock", "small.yaml")
    recipe.unlink()
    result = invoke("lock", "--check", "small.lock.yaml")
    assert result.exit_code == ExitCode.USAGE
    assert "error: small.lock.yaml is the lock of small.yaml, which is not there" in result.stderr


def test_recipes_without_a_lock_are_passed_over_when_asked_to(recipe, here, models):
    invoke("lock", "small.yaml")
    write_recipe(here, name="other", base=models.base, loras={"glow": "glow.safetensors"})
    assert invoke("lock", ".", "--check").exit_code == ExitCode.BAD_SOURCE
    result = invoke("lock", ".", "--check", "--if-locked")
    assert (result.exit_code, result.stdout) == (ExitCode.DONE, "small.lock.yaml: unchanged\n")
    assert invoke("lock", "other.yaml", "--if-locked").output == ""
    assert not (here / "other.lock.yaml").exists()


def test_as_json(recipe, move, parsed):
    facts = {"recipe": "small.yaml", "lock": "small.lock.yaml", "changes": []}
    result = invoke("lock", "small.yaml", "--check", "--json")
    assert (result.exit_code, parsed(result)) == (ExitCode.BAD_SOURCE, [facts | {"status": "missing"}])
    assert parsed(invoke("lock", "small.yaml", "--json")) == [facts | {"status": "wrote"}]
    assert parsed(invoke("lock", "small.yaml", "--json")) == [facts | {"status": "unchanged"}]
    move()
    result = invoke("lock", "small.yaml", "--check", "--json")
    assert result.exit_code == ExitCode.BAD_SOURCE
    assert result.stderr == ""
    (moved,) = parsed(result)
    assert moved["status"] == "moved"
    assert moved["changes"][0].startswith("loras.ink: commit moved from ")


def test_a_broken_lock_is_reported_or_replaced(recipe, here):
    (here / "small.lock.yaml").write_text("version: 1\nrecipe: small\n")
    result = invoke("lock", "small.yaml", "--check")
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert "error: small.lock.yaml:1:1: sources: missing" in result.stderr
    result = invoke("run", "small.yaml")
    assert result.exit_code == ExitCode.INVALID_RECIPE
    assert result.stderr.splitlines()[-1] == "hint: a lock is not written by hand: write it anew with `loramerge lock`"
    assert not (here / "dist").exists()
    assert invoke("lock", "small.yaml").stdout == "small.lock.yaml: wrote\n"


def test_standard_input_has_no_lock(recipe):
    result = invoke("lock", "-", stdin=recipe.read_text())
    assert result.exit_code == ExitCode.USAGE
    assert "a lock lies beside its recipe's file" in result.stderr


def test_run_takes_what_is_locked(recipe, move, here):
    invoke("lock", "small.yaml")
    before, _ = move()
    result = invoke("run", "small.yaml", "--json")
    assert result.exit_code == ExitCode.DONE, result.output
    lock = read_lock("dist/small/recipe.lock.yaml")
    assert lock.sources.loras["ink"].commit == before
    assert (here / "dist/small/recipe.lock.yaml").read_bytes() == (here / "small.lock.yaml").read_bytes()


def test_run_refuses_what_is_not_locked(recipe, here, tmp_path):
    invoke("lock", "small.yaml")
    pairs = foreign.random_lora(tiny.shared("sdxl"), seed=1, rank=4, alpha=2.0)
    foreign.write_diffusers(pairs, here / "glow.safetensors")
    result = invoke("run", "small.yaml")
    assert result.exit_code == ExitCode.BAD_SOURCE
    *_, error, hint = result.stderr.splitlines()
    assert error.startswith("error: loras.glow (glow.safetensors): glow.safetensors has ")
    assert hint.startswith("hint: if that is meant to be, `loramerge lock small.yaml` locks what is there now")
    assert not (here / "dist").exists()


def test_run_writes_no_lock(recipe, here):
    assert invoke("run", "small.yaml", "--json").exit_code == ExitCode.DONE
    assert not (here / "small.lock.yaml").exists()
    artifact = (here / "dist/small/recipe.lock.yaml").read_bytes()
    invoke("lock", "small.yaml")
    assert (here / "small.lock.yaml").read_bytes() == artifact


def test_a_lock_whose_recipe_was_renamed_is_named_with_the_way_back(recipe, here):
    assert invoke("lock", "small.yaml").exit_code == ExitCode.DONE
    (here / "small.yaml").rename(here / "tiny.yaml")
    way = "small.lock.yaml is the lock of small.yaml, which is not there, and tiny.yaml is its recipe: "
    for arguments in (("plan", "tiny.yaml"), ("plan", "."), ("lock", "--check", "tiny.yaml"), ("run", "tiny.yaml")):
        assert f"warning: {way}`mv small.lock.yaml tiny.lock.yaml`" in invoke(*arguments).stderr
    (here / "small.lock.yaml").rename(here / "tiny.lock.yaml")
    assert invoke("lock", "--check", ".").exit_code == ExitCode.DONE


def test_a_lock_without_any_recipe(recipe, here):
    assert invoke("lock", "small.yaml").exit_code == ExitCode.DONE
    (here / "small.lock.yaml").rename(here / "gone.lock.yaml")
    assert invoke("lock", "small.yaml").exit_code == ExitCode.DONE
    said = "gone.lock.yaml is the lock of gone.yaml, which is not there: remove it"
    assert said in invoke("plan", ".").stderr
    checked = invoke("lock", "--check", "--if-locked", ".")
    assert (checked.exit_code, said in checked.stderr) == (ExitCode.BAD_SOURCE, True)
    assert said not in invoke("plan", "small.yaml").stderr  # nobody asked about the folder
