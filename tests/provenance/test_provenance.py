from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import artifacts
import pytest
import tiny
from safetensors import safe_open
from secrets_scan import on_purpose

from loramerge.artifact.in_toto import Statement
from loramerge.files.digest import files_of, sha256_of
from loramerge.provenance.git import public_url, recipe_commit
from loramerge.provenance.provenance import Provenance, input_uri

OUTPUTS = [
    *({"kind": "adapter", "format": name, "dtype": "float16"} for name in ("peft", "diffusers", "kohya")),
    {"kind": "inputs"},
]
MERGE = {"combination_type": "dare_linear", "density": 0.5, "seed": 7}
COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An artifact made in a git repository, and what its provenance says."""
    folder = artifacts.workspace(tmp_path_factory.mktemp("made"))
    repository(folder)
    artifact = artifacts.artifact(folder, merge=MERGE, outputs=OUTPUTS)
    text = (artifact / "provenance.json").read_text(encoding="utf-8")
    return SimpleNamespace(folder=folder, artifact=artifact, text=text, data=json.loads(text))


def git(folder, *arguments):
    who = {
        f"GIT_{role}_{what}": f"{what}@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def repository(folder, *, origin="https://me:secret@example.org/me/recipes.git"):
    folder.mkdir(exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "remote", "add", "origin", origin)
    on_purpose(folder / ".git" / "config")
    return folder


def definition(made):
    return made.data["predicate"]["buildDefinition"]


def test_it_is_an_in_toto_statement_of_slsa_provenance(made):
    assert made.data["_type"] == "https://in-toto.io/Statement/v1"
    assert made.data["predicateType"] == "https://slsa.dev/provenance/v1"
    assert set(made.data) == {"_type", "subject", "predicateType", "predicate"}
    assert set(made.data["predicate"]) == {"buildDefinition", "runDetails"}
    assert set(definition(made)) == {
        "buildType", "externalParameters", "internalParameters", "resolvedDependencies",
    }  # fmt: skip
    assert definition(made)["buildType"].startswith("urn:loramerge:")
    assert made.data["predicate"]["runDetails"]["builder"]["id"].startswith("urn:loramerge:")
    assert set(made.data["predicate"]["runDetails"]) == {"builder"}


def test_the_in_toto_package_takes_it(made):
    pytest.importorskip("in_toto_attestation", reason="in-toto-attestation is not installed")
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.v1.statement import Statement as TheirStatement

    statement = TheirStatement([], "", {})
    json_format.Parse(made.text, statement.pb)
    statement.validate()
    provenance = json_format.ParseDict(made.data["predicate"], provenance_pb2.Provenance())
    assert provenance.build_definition.build_type
    assert provenance.run_details.builder.id
    assert all(entry.digest for entry in provenance.build_definition.resolved_dependencies)


def test_its_subjects_are_all_other_files(made):
    names = [subject["name"] for subject in made.data["subject"]]
    assert names == sorted(set(files_of(made.artifact)) - {"provenance.json"})
    for subject in made.data["subject"]:
        assert subject["digest"] == {"sha256": sha256_of(made.artifact / subject["name"])}


def test_it_has_the_recipe(made):
    external = definition(made)["externalParameters"]
    assert external["recipe"]["name"] == "small"
    assert [lora["weight"] for lora in external["recipe"]["loras"]] == [0.7, -0.4]
    assert external["recipe"]["merge"] == MERGE | {"engine": "peft"}
    assert external["recipeSha256"] == sha256_of(made.artifact / "recipe.yaml") == sha256_of(made.folder / "small.yaml")


def test_it_has_what_was_not_in_the_recipe(made):
    internal = definition(made)["internalParameters"]
    assert internal["seed"] == 7
    assert internal["device"] == "cpu"
    assert internal["dtypes"] == {
        "merge": "float32",
        "outputs": {"peft": "float16", "diffusers": "float16", "kohya": "float16", "inputs": "float32"},
    }
    assert internal["bytesDependOnEnvironment"] == []
    assert {"torch", "peft", "diffusers", "transformers", "safetensors", "numpy", "python", "loramerge"} <= set(
        internal["environment"]
    )


def test_every_input_has_its_digest(made):
    inputs = [entry for entry in definition(made)["resolvedDependencies"] if "sha256" in entry["digest"]]
    assert [entry["uri"] for entry in inputs] == [
        "base/model_index.json", "base/scheduler/scheduler_config.json",
        "base/text_encoder/config.json", "base/unet/config.json",
        "a.safetensors", "b.safetensors",
    ]  # fmt: skip
    for entry in inputs:
        file = made.folder / entry["uri"]
        assert entry["digest"]["sha256"] == sha256_of(file)
        assert entry["annotations"]["size"] == file.stat().st_size
    assert [entry["annotations"].get("lora") for entry in inputs] == [*[None] * 4, "a", "b"]


def test_weights_of_the_base_are_inputs_where_they_are_used(tmp_path):
    folder = artifacts.workspace(tmp_path)
    text = (artifacts.artifact(folder, outputs=[{"kind": "pipeline"}]) / "provenance.json").read_text()
    places = {place for _, place in Provenance.parse(text).inputs}
    assert {f"base/{name}" for name in files_of(tiny.folder("sd15"))} <= places


def test_nothing_of_this_machine_and_no_time_is_in_it(made):
    assert str(made.folder) not in made.text
    assert str(Path.home()) not in made.text
    assert "secret" not in made.text
    assert not {"metadata", "startedOn", "finishedOn"} & set(made.data["predicate"]["runDetails"])


def test_the_same_artifact_has_the_same_provenance(made, tmp_path):
    again = artifacts.artifact(made.folder, merge=MERGE, outputs=OUTPUTS, out=tmp_path / "again")
    assert (again / "provenance.json").read_text(encoding="utf-8") == made.text
    assert Statement.parse(made.text).text() == made.text


def test_the_recipes_commit(tmp_path):
    folder = repository(artifacts.workspace(tmp_path))

    def commit_entry():
        text = (artifacts.artifact(folder) / "provenance.json").read_text()
        entries = json.loads(text)["predicate"]["buildDefinition"]["resolvedDependencies"]
        return [entry for entry in entries if entry["annotations"]["role"] == "recipe"]

    assert commit_entry() == []
    (folder / ".gitignore").write_text("out/\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "recipe")
    head = git(folder, "rev-parse", "HEAD")
    entry = {
        "name": "recipe",
        "uri": f"git+https://example.org/me/recipes.git@{head}",
        "digest": {"gitCommit": head},
        "annotations": {"role": "recipe", "path": "small.yaml", "clean": True},
    }
    assert commit_entry() == [entry]
    (folder / "other").write_text("")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "something else")
    assert commit_entry() == [entry]


def test_a_changed_recipe_is_not_clean(tmp_path):
    repository(tmp_path)
    recipe = tmp_path / "sub folder" / "é [x].yaml"
    recipe.parent.mkdir()
    recipe.write_text("a")
    assert recipe_commit(recipe) is None
    git(tmp_path, "add", ".")
    assert recipe_commit(recipe) is None
    git(tmp_path, "commit", "--quiet", "-m", "recipe")
    found = recipe_commit(recipe)
    assert (found.path, found.clean) == ("sub folder/é [x].yaml", True)
    recipe.write_text("b")
    assert recipe_commit(recipe).clean is False


def test_a_hooks_repository_is_not_the_recipes(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(repository(tmp_path) / ".git"))
    (tmp_path / "elsewhere").mkdir()
    assert recipe_commit(tmp_path / "elsewhere" / "recipe.yaml") is None


def test_a_shallow_clone_knows_no_commit_but_those_after_its_first(tmp_path):
    origin, clone = repository(tmp_path / "origin"), tmp_path / "clone"
    for name in ("recipe.yaml", "other"):
        (origin / name).write_text("a")
        git(origin, "add", ".")
        git(origin, "commit", "--quiet", "-m", name)
    git(tmp_path, "clone", "--quiet", "--depth=1", origin.as_uri(), "clone")
    assert recipe_commit(clone / "recipe.yaml") is None
    (clone / "recipe.yaml").write_text("b")
    git(clone, "commit", "--quiet", "--all", "-m", "change")
    assert recipe_commit(clone / "recipe.yaml").commit == git(clone, "rev-parse", "HEAD")
    git(clone, "reset", "--quiet", "--hard", "HEAD^")
    git(clone, "fetch", "--quiet", "--unshallow", "origin")
    assert recipe_commit(clone / "recipe.yaml").commit == recipe_commit(origin / "recipe.yaml").commit


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    repository(tmp_path)
    (tmp_path / "recipe.yaml").write_text("a")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "recipe")
    assert recipe_commit(tmp_path / "recipe.yaml") is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert recipe_commit(tmp_path / "recipe.yaml") is None


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://me:token@example.org/me/x.git", "https://example.org/me/x.git"),
        ("https://example.org:8443/me/x?token=secret#y", "https://example.org:8443/me/x"),
        ("ssh://git@example.org/me/x.git", "ssh://example.org/me/x.git"),
        ("git@example.org:me/x.git", "ssh://example.org/me/x.git"),
        ("example.org:me/x.git", "ssh://example.org/me/x.git"),
        ("/home/me/x", None),
        ("../x", None),
        ("C:\\x", None),
        ("file:///home/me/x", None),
        ("", None),
    ],
)
def test_a_remote_is_named_without_credentials(url, public):
    assert public_url(url) == public


@pytest.mark.parametrize(
    ("reference", "revision", "name", "uri"),
    [
        ("hf://me/base", COMMIT, "unet/config.json", f"hf://me/base@{COMMIT}/unet/config.json"),
        ("hf://me/base/sub", COMMIT, "unet/config.json", f"hf://me/base@{COMMIT}/sub/unet/config.json"),
        ("hf://me/lora/x/a.safetensors", COMMIT, "a.safetensors", f"hf://me/lora@{COMMIT}/x/a.safetensors"),
        ("https://example.org/a%20b.safetensors?token=secret", None, "a b.safetensors",
         "https://example.org/a%20b.safetensors"),
        ("loras/a.safetensors", None, "a.safetensors", "loras/a.safetensors"),
        ("../base", None, "unet/config.json", "../base/unet/config.json"),
        ("/home/me/a.safetensors", None, "a.safetensors", "a.safetensors"),
        ("~/models/base/", None, "unet/config.json", "base/unet/config.json"),
        ("C:\\models\\a.safetensors", None, "a.safetensors", "a.safetensors"),
    ],
)  # fmt: skip
def test_the_place_of_an_input(reference, revision, name, uri):
    assert input_uri(reference, revision, name) == uri


@pytest.mark.parametrize("name", ["kohya/small", "diffusers/pytorch_lora_weights", "peft/unet/adapter_model"])
def test_a_lone_adapter_tells_its_recipe_and_inputs(made, name):
    with safe_open(made.artifact / f"{name}.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["loramerge.recipe"] == "small"
    assert metadata["loramerge.recipe_sha256"] == hashlib.sha256((made.folder / "small.yaml").read_bytes()).hexdigest()
    assert json.loads(metadata["loramerge.inputs"]) == {
        name: {f"{name}.safetensors": sha256_of(made.folder / f"{name}.safetensors")} for name in ("a", "b")
    }


def test_a_lone_input_tells_of_itself_alone(made):
    with safe_open(made.artifact / "inputs" / "a" / "adapter_model.safetensors", "pt") as file:
        assert set(json.loads(file.metadata()["loramerge.inputs"])) == {"a"}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:-20], "Expecting|Unterminated|delimiter"),
        (lambda _: "[" * 100_000, "nested too deeply|Expecting"),
        (lambda _: "[]", "no statement of type"),
        (lambda text: text.replace("in-toto.io/Statement/v1", "in-toto.io/Statement/v2"), "no statement of type"),
        (lambda text: text.replace("slsa.dev/provenance/v1", "slsa.dev/provenance/v9"), "no predicate of type"),
        (lambda text: text.replace("urn:loramerge:recipe:v1", "urn:loramerge:recipe:v2"), "its buildType is"),
        (lambda text: text.replace('"recipe.yaml"', '"report.json"'), "names report.json twice"),
        (lambda text: text.replace('"sha256"', '"sha1"'), "no name or no sha256"),
        (lambda text: text.replace('"internalParameters"', '"other"'), "it lacks what loramerge writes"),
        (lambda text: text.replace('"environment": {', '"environment": 3, "x": {'), "it lacks what loramerge writes"),
    ],
)
def test_a_damaged_provenance_says_why(made, damage, words):
    with pytest.raises(ValueError, match=words):
        Provenance.parse(damage(made.text))


def test_what_verifying_needs_is_read_back(made):
    found = Provenance.parse(made.text)
    assert found.recipe == "small"
    assert set(found.outputs) == {"peft", "diffusers", "kohya", "inputs"}
    assert found.inputs["a", "a.safetensors"] == sha256_of(made.folder / "a.safetensors")
