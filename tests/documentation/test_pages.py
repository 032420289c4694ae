"""The README and docs/: what comes from the code is up to date, and what can be tried works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections import defaultdict
from itertools import chain
from pathlib import Path

import click
import pytest
from command_line import ROOT
from documentation.commands_page import commands_page
from documentation.recipe_page import Page, recipe_keys, recipe_page
from documentation.write import DOCS, PAGES
from marked import inserted
from test_architecture import HOUSE, TOP

from loramerge.cli.commands import NAMES, commands
from loramerge.errors import ExitCode
from loramerge.recipe import Recipe, parse, parse_each
from loramerge.recipe.schema import schema

MIGRATING = DOCS / "migrating.md"
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
WRITTEN = [README, CONTRIBUTING, *sorted(DOCS.glob("*.md"))]
EVERY = [*WRITTEN, *sorted((DOCS / "reference").glob("*.md"))]
ROOT_CONTEXT = click.Context(commands, info_name="loramerge")
MOST = 12_000  # bytes


def blocks(language, paths=WRITTEN):
    """(page, text) of every code block in a language."""
    for path in paths:
        for text in re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            yield path.name, text


def lines():
    """(page, command line) of every line with loramerge in it, as far as a `|`."""
    for page, text in blocks("sh"):
        for line in text.splitlines():
            command, *_ = re.split(r" +# ", line)
            yield from ((page, each.strip()) for each in command.split(" | ") if each.strip().startswith("loramerge "))
    yield from ((MIGRATING.name, line) for line in re.findall(r"`(loramerge [^`]+)`", MIGRATING.read_text("utf-8")))


def test_the_readme_is_short():
    assert len(README.read_bytes()) <= MOST


@pytest.mark.parametrize("name", PAGES)
def test_what_comes_from_the_code_is_up_to_date(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    assert PAGES[name](text) == text, "write it anew: make docs"


def test_figures_are_those_that_were_measured():
    bench = ROOT / "tests" / "bench"
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import tables; "
        "pages = tables.pages(json.loads(tables.FIGURES.read_text())); "
        "print([path.name for path, text in pages.items() if path.read_text() != text], len(pages))"
    )
    done = subprocess.run([sys.executable, "-c", code, bench], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] 2", "write them anew: python tests/bench/tables.py"


def test_recipes_are_valid(tmp_path):
    found = defaultdict(list)
    for page, text in blocks("yaml"):
        if named := re.match(r"# (\w+\.yaml)\n", text):  # which those that follow take from
            (tmp_path / named[1]).write_text(text, encoding="utf-8")
        if "version: 1" in text:
            recipes = parse_each(text, origin=page, folder=tmp_path)
            found[page].append((recipes[0].name, len(recipes)))
    assert found == {
        "README.md": [("ikea-feng", 1)],
        "recipe.md": [("ikea-feng", 1), ("ink", 1), ("ink-sdxl-0.5-sum", 12)],
        "language-models.md": [("code-chat", 1)],
    }


def test_parts_of_recipes_are_valid(tmp_path):
    """A block that begins with a key of a recipe, or of a LoRA, fits into one."""
    keys = {*Recipe.model_fields, "weight"}
    head = "version: 1\nname: a\nbase: {source: x}\nloras: [{name: a, source: a.safetensors, WEIGHT}]\n"
    head += "merge: {combination_type: cat}\noutputs: [{kind: adapter, format: kohya}]\n"
    found = [(page, text) for page, text in blocks("yaml") if text.partition(":")[0] in keys]
    parts = [(page, text) for page, text in found if "version: 1" not in text]
    assert len(parts) >= 3
    for page, text in parts:
        if text.startswith("weight:"):
            block = "\n".join(f"    {line}" for line in text.splitlines())
            whole = head.replace("[{name: a, source: a.safetensors, WEIGHT}]", f"\n  - name: a\n    source: a\n{block}")
        else:
            given = {line.partition(":")[0] for line in text.splitlines()}
            rest = [line for line in head.splitlines() if line.partition(":")[0] not in given]
            whole = "\n".join([*rest, text]).replace(", WEIGHT", "")
        assert parse(whole, origin=page, folder=tmp_path)


@pytest.mark.parametrize(("page", "line"), list(lines()))
def test_a_command_line_can_be_typed(page, line):
    del page
    _, name, *arguments = shlex.split(line.replace("\\\n", " "))
    command = commands.get_command(ROOT_CONTEXT, name)
    assert command is not None
    command.make_context(name, arguments, parent=ROOT_CONTEXT)


def test_make_can_do_what_is_said():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    pages = (path.read_text(encoding="utf-8") for path in WRITTEN)
    said = set(chain.from_iterable(re.findall(r"(?:`|^)make ([a-z]+)", page, re.MULTILINE) for page in pages))
    assert {"quickstart", "test", "docs", "bench"} <= said <= targets


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    ((page, code),) = [each for each in blocks("python") if not each[1].startswith("# loramerge/")]
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "quickstart").symlink_to(ROOT / "recipes" / "quickstart")
    text = (ROOT / "recipes" / "quickstart.yaml").read_text(encoding="utf-8")
    assert "steps: 20" in text
    (recipes / "quickstart.yaml").write_text(text.replace("steps: 20", "steps: 1"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec"), {})  # noqa: S102  our own text
    assert "unet" in capsys.readouterr().out
    assert (tmp_path / "dist" / "quickstart" / "kohya" / "quickstart.safetensors").is_file()


def slug(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("path", [README, CONTRIBUTING, *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.name)
def test_links_lead_somewhere_on_github(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("https://"):
            name, _, anchor = target.partition("#")
            place = path.parent / name if name else path
            assert place.is_file(), target
            if anchor:
                headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in map(slug, headings), target


def test_every_page_is_in_the_readme():
    text = README.read_text(encoding="utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - {"index.md"}
    assert {name for name in pages if f"](docs/{name})" not in text} == set()


# The pages that are made


def test_the_reference_has_every_command():
    assert re.findall(r"^## loramerge (.*)$", commands_page(), re.MULTILINE) == list(NAMES)


def test_the_exit_codes_are_all_there():
    text = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) ", text, re.MULTILINE)} == set(ExitCode)


def keys(node):
    """Every key that the schema knows."""
    if isinstance(node, dict):
        yield from node.get("properties", {})
        node = list(node.values())
    for each in node if isinstance(node, list) else ():
        yield from keys(each)


def test_the_reference_has_every_key():
    rows = set(re.findall(r"`(\w+)`(?=[,| ])", recipe_page()))
    assert set(keys(schema())) <= rows


DEEP = {"type": "integer", "minimum": 1, "description": "Deep."}


def test_the_reference_follows_the_models():
    inner = {
        "description": "Inside.",
        "properties": {"deep": {"type": "integer", "minimum": 1, "description": "Deep."}},
    }
    whole = {
        "$defs": {"Inner": inner},
        "properties": {
            "one": {"$ref": "#/$defs/Inner", "description": "The first."},
            "many": {"type": "array", "items": {"type": "string"}, "default": [], "description": "Many."},
        },
        "required": ["one"],
    }
    text = Page(whole).text()
    assert "| `one` | [`one`](#one) | **required** | The first. |" in text
    assert "| `many` | list of texts | none | Many. |" in text
    assert "| `deep` | whole number | none | Deep. At least 1. |" in text


def test_the_readme_has_every_key_with_its_default():
    table = README.read_text(encoding="utf-8").partition("<!-- keys -->")[2].partition("<!-- /keys -->")[0]
    assert {*keys(schema())} <= {*re.findall(r"`(\w+)(?:: [^`]+)?`", table)}
    assert "**`loras`**" in table
    assert "`weight: 1.0`" in table


def test_the_table_of_keys_follows_the_models():
    kinds = [
        {
            "description": name,
            "properties": {"kind": {"const": name, "description": name}, own: {"type": "integer"}},
            "required": ["kind"],
        }
        for name, own in (("one", "first"), ("two", "second"))
    ]
    union = {
        "discriminator": {"propertyName": "kind"},
        "oneOf": [{"$ref": "#/$defs/One"}, {"$ref": "#/$defs/Two"}],
    }
    whole = {
        "$defs": {"One": kinds[0], "Two": kinds[1]},
        "properties": {"steps": {"type": "integer", "default": 30}, "part": union},
        "required": ["part"],
    }
    assert recipe_keys(whole).splitlines()[2:] == [
        "| a recipe | `steps: 30`, **`part`** |",
        "| `part` | **`kind`**, `first`, `second` |",
    ]


@pytest.mark.parametrize("text", ["no marks\n", "<!-- a -->\n<!-- /a -->\n<!-- a -->\n<!-- /a -->\n"])
def test_marks_are_there_once(text):
    with pytest.raises(ValueError, match="the marks <!-- a -->"):
        inserted(text, "a", "new")


def test_what_is_between_marks_is_replaced():
    assert inserted("1\n<!-- a -->\nold\n<!-- /a -->\n2", "a", "new\n") == "1\n<!-- a -->\nnew\n<!-- /a -->\n2"


def test_no_text_tells_of_the_machine():
    for path in EVERY:
        assert not re.search(r"/(work|home|root|usr|tmp)\b", path.read_text(encoding="utf-8")), path


def test_the_house_that_is_drawn_is_the_one_that_stands():
    pattern = re.compile(r"^```\n(masking .*?)^```", re.DOTALL | re.MULTILINE)
    (picture,) = pattern.findall(CONTRIBUTING.read_text(encoding="utf-8"))
    top, *folders = picture.splitlines()
    assert top.split()[: len(TOP)] == list(TOP)
    assert [line.split("/")[0] for line in folders] == list(HOUSE)


def test_examples_are_lines_of_the_program():
    pattern = re.compile(r"^```python\n# (loramerge/\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    found = pattern.findall(CONTRIBUTING.read_text(encoding="utf-8"))
    kinds = ["methods", "deltas", "formats", "families", "outputs", "sources", "targets"]
    assert [Path(name).parent.name for name, _ in found] == kinds
    for name, example in found:
        rest = (ROOT / name).read_text(encoding="utf-8")
        for part in example.split("…\n"):
            _, there, rest = rest.partition(part)
            assert there, f"{name} has no such lines, or not in this order:\n{part}"
