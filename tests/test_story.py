"""A git repository of recipes, a Hub, and nobody watching: from the first plan to a file that somebody edits."""

import json
import subprocess

import foreign
import pytest
import tiny
from canonical import files_of
from command_line import invoke, listing, write_recipe
from hub.example import OWNER

from loramerge.errors import ExitCode

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")]
NAMES = ("calm", "wild", "both")
BASE, STYLES = "org/base", "org/styles"


def git(folder, *arguments):
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@localhost")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def recipes(hub, tmp_path, monkeypatch):
    """The repository: three recipes and their locks, committed; sources are on the Hub."""
    base = tiny.folder("sd15")
    files = {name: (base / name).read_bytes() for name in files_of(base)}
    hub.repository(BASE, files | {"README.md": b"---\nlicense: openrail\n---\n"})
    styles = {}
    for seed, name in enumerate(("ink", "glow")):
        pairs = foreign.random_lora(tiny.shared("sd15"), seed=seed, rank=2, alpha=2.0)
        styles[f"{name}.safetensors"] = foreign.write_diffusers(pairs, tmp_path / f"{name}.safetensors").read_bytes()
    hub.repository(STYLES, styles | {"README.md": b"---\nlicense: openrail\n---\n"})
    folder = tmp_path / "repository" / "recipes"
    folder.mkdir(parents=True)
    for weight, name in enumerate(NAMES, start=1):
        write_recipe(
            folder,
            name=name,
            base=f"hf://{BASE}",
            loras={
                "ink": {"source": f"hf://{STYLES}/ink.safetensors", "weight": weight / 4},
                "glow": {"source": f"hf://{STYLES}/glow.safetensors"},
            },
            publish=[{"kind": "hub", "repo": f"me/{name}"}],
        )
    monkeypatch.chdir(folder.parent)
    hub.store.tokens[OWNER] = "me"
    git(folder.parent, "init", "--quiet", "--initial-branch=main")
    assert invoke("lock", "recipes").exit_code == ExitCode.DONE
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "--quiet", "--message", "Three merges")
    return folder


def planned():
    result = invoke("plan", "recipes", "--json")
    return result.exit_code, {
        entry["name"]: tuple(
            (step["action"], [reason["kind"] for reason in step["reasons"]])
            for step in (entry["artifact"], *entry["targets"])
        )
        for entry in json.loads(result.stdout)
    }


def ran(*arguments):
    result = invoke("run", "recipes", "--json", *arguments)
    return result.exit_code, {entry["name"]: entry["status"] for entry in json.loads(result.stdout)}


def heads(hub):
    return {name: hub.store.repositories["model", f"me/{name}"].head for name in NAMES}


def commits(hub, name):
    return [each.title for each in hub.store.repositories["model", f"me/{name}"].commits.values()]


def test_recipes_that_are_published_and_kept_as_they_are(hub, recipes, monkeypatch):
    code, steps = planned()
    assert code == ExitCode.CHANGES_PENDING
    assert steps == dict.fromkeys(NAMES, (("build", ["new"]), ("publish", ["new"])))
    assert not [name for _, name in hub.store.repositories if name.startswith("me/")]

    monkeypatch.setenv("HF_TOKEN", OWNER)
    assert ran() == (ExitCode.DONE, dict.fromkeys(NAMES, "built"))
    monkeypatch.delenv("HF_TOKEN")
    assert {name: commits(hub, name) for name in NAMES} == {
        name: ["initial commit", f"Publish {name}"] for name in NAMES
    }
    for name in NAMES:
        assert invoke("verify", f"hf://me/{name}").exit_code == ExitCode.DONE

    untouched = dict.fromkeys(NAMES, (("none", ["not needed"]), ("none", ["up to date"])))
    assert planned() == (ExitCode.DONE, untouched)
    assert ran() == (ExitCode.DONE, dict.fromkeys(NAMES, "up to date"))

    # in a fresh clone nothing is to be done either
    before = heads(hub)
    git(recipes.parent, "clone", "--quiet", ".", "../clone")
    monkeypatch.chdir(recipes.parents[1] / "clone")
    assert planned() == (ExitCode.DONE, untouched)
    assert ran() == (ExitCode.DONE, dict.fromkeys(NAMES, "up to date"))
    monkeypatch.chdir(recipes.parent)

    # one weight
    wild = recipes / "wild.yaml"
    wild.write_text(wild.read_text().replace("weight: 0.5", "weight: 0.6"))
    git(recipes.parent, "commit", "--quiet", "--all", "--message", "More ink")
    code, steps = planned()
    assert code == ExitCode.CHANGES_PENDING
    assert steps == untouched | {"wild": (("build", ["recipe changed"]), ("publish", ["recipe changed"]))}
    assert "loras.ink.weight from 0.5 to 0.6" in invoke("plan", "recipes").stdout
    kept = listing(recipes.parent / "dist" / "calm")
    monkeypatch.setenv("HF_TOKEN", OWNER)
    assert ran() == (ExitCode.DONE, {"calm": "up to date", "wild": "built", "both": "up to date"})
    monkeypatch.delenv("HF_TOKEN")
    assert {name for name in NAMES if heads(hub)[name] != before[name]} == {"wild"}
    assert commits(hub, "wild") == ["initial commit", "Publish wild", "Publish wild"]
    assert listing(recipes.parent / "dist" / "calm") == kept
    assert planned() == (ExitCode.DONE, untouched)

    # somebody edits a file on the Hub
    hub.store.write(hub.store.repositories["model", "me/both"], {"README.md": b"---\nlicense: mit\n---\n# Mine now\n"})
    code, steps = planned()
    assert code == ExitCode.CHANGES_PENDING
    assert steps == untouched | {"both": (("none", ["up to date"]), ("publish", ["drifted"]))}
    assert "drifted: README.md was changed" in invoke("plan", "recipes").stdout
    spoiled = invoke("verify", "hf://me/both")
    assert spoiled.exit_code == ExitCode.NOT_VERIFIED
    assert "README.md was changed" in spoiled.stderr
    monkeypatch.setenv("HF_TOKEN", OWNER)
    assert ran() == (ExitCode.DONE, {"calm": "up to date", "wild": "up to date", "both": "published"})
    assert invoke("verify", "hf://me/both").exit_code == ExitCode.DONE
    assert planned() == (ExitCode.DONE, untouched)


def test_one_that_fails_does_not_stop_the_others(hub, recipes, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    (recipes / "wild.yaml").write_text(
        (recipes / "wild.yaml").read_text().replace("ink.safetensors", "lost.safetensors")
    )
    (recipes / "calm.yaml").write_text((recipes / "calm.yaml").read_text() + "colour: red\n")
    code, steps = planned_or_failed()
    assert code == ExitCode.FAILED
    assert steps == {"calm.yaml": ExitCode.INVALID_RECIPE, "wild.yaml": ExitCode.BAD_SOURCE, "both.yaml": None}
    assert invoke("run", "recipes").exit_code == ExitCode.INVALID_RECIPE
    assert not (recipes.parent / "dist").exists()
    result = invoke("run", "recipes", "--keep-going")
    assert result.exit_code == ExitCode.FAILED
    assert "2 of 3 recipes failed: recipes/calm.yaml, recipes/wild.yaml" in result.stderr
    assert commits(hub, "both") == ["initial commit", "Publish both"]
    (recipes / "calm.yaml").unlink()
    result = invoke("run", "recipes", "--keep-going", "--json")
    assert result.exit_code == ExitCode.BAD_SOURCE
    both, wild, stray = json.loads(result.stdout)
    assert [each["status"] for each in (both, wild, stray)] == ["up to date", "failed", "stray"]
    assert "lost.safetensors" in wild["error"]["message"]


def planned_or_failed():
    result = invoke("plan", "recipes", "--json")
    entries = json.loads(result.stdout)
    return result.exit_code, {
        entry["recipe"].rpartition("/")[2]: entry["error"]["exit_code"] if "error" in entry else None
        for entry in entries
    }
