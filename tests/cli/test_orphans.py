"""What recipes left in targets that are no longer there."""

import shutil

import pytest
from command_line import invoke, listing, write_recipe
from hub.example import OWNER

from loramerge.errors import ExitCode

pytestmark = pytest.mark.slow

KOHYA = [{"kind": "adapter", "format": "kohya"}]


@pytest.fixture
def recipes(here, models):
    """A folder of two recipes that publish single files to one folder, which others use as well."""
    (here / "recipes").mkdir()
    for name in ("one", "two"):
        write_recipe(
            here / "recipes",
            name=name,
            base=models.base,
            loras={"ink": models.ink},
            outputs=KOHYA,
            publish=[{"kind": "folder", "path": "../models", "outputs": ["kohya"]}],
        )
    assert invoke("run", "recipes").exit_code == ExitCode.DONE
    (here / "models" / "mine.safetensors").write_bytes(b"mine")
    return here / "recipes"


def test_a_recipe_that_is_gone_is_shown_and_pruned(recipes, here, parsed):
    (recipes / "two.yaml").unlink()
    planned = invoke("plan", "recipes")
    assert planned.exit_code == ExitCode.DONE
    assert "orphaned  1 file of a recipe that is gone" in planned.stdout
    *_, orphan, _ = parsed(invoke("plan", "recipes", "--json"))
    assert (orphan["name"], orphan["orphaned"]["files"]) == ("two", ["two.safetensors"])
    assert invoke("run", "recipes").exit_code == ExitCode.DONE
    assert (here / "models" / "two.safetensors").exists()
    pruned = invoke("run", "recipes", "--prune")
    assert pruned.exit_code == ExitCode.DONE
    assert "two: removed 1 file from " in pruned.stdout
    left = {path.name for path in (here / "models").iterdir()}
    assert left == {"one.safetensors", "mine.safetensors", ".loramerge"}
    assert [path.name for path in (here / "models" / ".loramerge").iterdir()] == ["one.json"]
    assert "orphaned" not in invoke("plan", "recipes").stdout


@pytest.fixture
def kept(here, models):
    """A folder of two recipes without targets, and their artifacts in `dist`, where something else lies as well."""
    (here / "recipes").mkdir()
    for name in ("one", "two"):
        write_recipe(here / "recipes", name=name, base=models.base, loras={"ink": models.ink}, outputs=KOHYA)
    assert invoke("run", "recipes").exit_code == ExitCode.DONE
    (here / "dist" / "mine").mkdir()
    (here / "dist" / "mine" / "x.safetensors").write_bytes(b"mine")
    return here / "dist"


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def test_an_artifact_whose_recipe_is_gone_is_shown_and_pruned(kept, here, parsed):
    assert "orphaned" not in invoke("plan", "recipes").stdout
    (here / "recipes" / "two.yaml").unlink()
    planned = invoke("plan", "recipes")
    assert planned.exit_code == ExitCode.DONE
    (line,) = [line for line in planned.stdout.splitlines() if "orphaned" in line]
    assert line.split()[:2] == ["two", str(kept / "two")]
    *_, orphan = parsed(invoke("plan", "recipes", "--json"))
    assert {"provenance.json", "kohya/two.safetensors"} <= set(orphan["orphaned"]["files"])
    assert invoke("run", "recipes").exit_code == ExitCode.DONE
    assert names_in(kept) == {"one", "two", "mine", ".loramerge"}
    pruned = invoke("run", "recipes", "--prune")
    assert pruned.exit_code == ExitCode.DONE
    assert f"two: removed {len(orphan['orphaned']['files'])} files from {kept / 'two'}" in pruned.stdout
    assert names_in(kept) == {"one", "mine", ".loramerge"}
    assert names_in(kept / ".loramerge" / "artifacts") == {"one.json"}
    assert "orphaned" not in invoke("plan", "recipes").stdout
    assert invoke("verify", "dist/one").exit_code == ExitCode.DONE


def test_what_somebody_changed_or_put_into_an_artifact_stays(kept, here):
    (here / "recipes" / "two.yaml").unlink()
    (kept / "two" / "README.md").write_text("mine")
    (kept / "two" / "kohya" / "notes.txt").write_text("mine")
    (kept / "two" / "report.json").unlink()
    (kept / "two" / "report.json").symlink_to(kept / "one" / "report.json")
    assert "README.md, kohya/notes.txt, report.json was changed and stays" in invoke("plan", "recipes").stdout
    assert invoke("run", "recipes", "--prune").exit_code == ExitCode.DONE
    left = {path.relative_to(kept / "two").as_posix() for path in (kept / "two").rglob("*") if not path.is_dir()}
    assert left == {"README.md", "kohya/notes.txt", "report.json"}
    assert (kept / "one" / "report.json").is_file()


@pytest.mark.parametrize("change", [
    "another recipe made it", "its provenance was changed", "its record is gone", "it is a link",
    "its recipe lies elsewhere in the call", "it came from standard input", "a recipe is made of it",
    "its name came by --set",
])  # fmt: skip
def test_an_artifact_that_may_be_somebody_s_is_no_orphan(kept, here, models, change):
    folders = ["recipes"]
    two = here / "recipes" / "two.yaml"
    if change == "another recipe made it":
        (here / "others").mkdir()
        shutil.copy(two, here / "others" / "two.yaml")
        assert invoke("run", "others/two.yaml").exit_code == ExitCode.DONE
    elif change == "its provenance was changed":
        (kept / "two" / "provenance.json").write_text((kept / "two" / "provenance.json").read_text() + "\n")
    elif change == "its record is gone":  # as versions before wrote artifacts
        (kept / ".loramerge" / "artifacts" / "two.json").unlink()
    elif change == "it is a link":
        (kept / "two").rename(here / "elsewhere")
        (kept / "two").symlink_to(here / "elsewhere")
    elif change == "its recipe lies elsewhere in the call":
        (here / "others").mkdir()
        shutil.copy(two, here / "others" / "two.yaml")
        folders.append("others")
    elif change == "it came from standard input":
        assert invoke("run", "-", stdin=two.read_text()).exit_code == ExitCode.DONE
    elif change == "a recipe is made of it":
        write_recipe(two.parent, name="of", base=models.base, loras={"two": "../dist/two/kohya/two.safetensors"})
    elif change == "its name came by --set":
        assert invoke("run", two.with_name("one.yaml"), "--set", "name=two", "--force").exit_code == ExitCode.DONE
    two.unlink()
    before = listing(kept / "two")
    planned = invoke("plan", *folders)
    assert "orphaned" not in planned.stdout, planned.stdout
    assert invoke("run", *folders, "--prune").exit_code == ExitCode.DONE
    assert listing(kept / "two") == before


def test_what_somebody_changed_stays(recipes, here):
    (recipes / "two.yaml").unlink()
    (here / "models" / "two.safetensors").write_bytes(b"by hand")
    assert "two.safetensors was changed and stays" in invoke("plan", "recipes").stdout
    pruned = invoke("run", "recipes", "--prune")
    assert "kept two.safetensors, which was changed" in pruned.stdout
    assert (here / "models" / "two.safetensors").read_bytes() == b"by hand"


def test_recipes_of_other_folders_are_not_orphans(recipes, here):
    (here / "others").mkdir()
    shutil.move(recipes / "two.yaml", here / "others" / "two.yaml")
    text = (here / "others" / "two.yaml").read_text()
    (here / "others" / "three.yaml").write_text(text.replace("name: two", "name: three"))
    assert invoke("run", "others/three.yaml").exit_code == ExitCode.DONE
    assert "three" not in invoke("plan", "recipes").stdout
    assert "two" not in invoke("plan", "others/three.yaml").stdout  # a file does not tell which others there are


def test_a_recipe_that_can_not_be_read_makes_no_orphan(recipes, here):
    (recipes / "two.yaml").write_text("version: 1\nbase: [\n")
    planned = invoke("plan", "recipes")
    assert "orphaned" not in planned.stdout
    assert "two.yaml can't be read, so nobody knows which recipes" in planned.stderr


def test_pruning_needs_a_folder(recipes):
    refused = invoke("run", "recipes/one.yaml", "--prune")
    assert refused.exit_code == ExitCode.USAGE
    assert "--prune needs the folder of the recipes" in refused.stderr


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # httpx2's word to huggingface_hub
def test_a_branch_of_a_hub_is_pruned_in_one_commit(recipes, here, models, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    given = {"base": models.base, "loras": {"ink": models.ink}, "outputs": KOHYA, "license": "mit"}
    for name in ("one", "two"):
        write_recipe(recipes, name=name, publish=[{"kind": "hub", "repo": f"tester/{name}"}], **given)
    done = invoke("run", "recipes")
    assert done.exit_code == ExitCode.DONE, done.output
    (recipes / "two.yaml").unlink()
    write_recipe(recipes, name="one", publish=[{"kind": "hub", "repo": "tester/two"}], **given)
    assert "orphaned" in invoke("plan", "recipes").stdout
    assert invoke("run", "recipes", "--prune", "--force").exit_code == ExitCode.DONE
    head = hub.store.repositories["model", "tester/two"].resolve("main")
    assert {".loramerge/two.json", "two.safetensors"} & set(head.files) == set()
    assert {".loramerge/one.json", "one.safetensors", "README.md"} <= set(head.files)
