"""The rules by which the modules hang together."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import deque
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from loramerge.methods import METHODS

PACKAGE = Path(__file__).parents[1] / "loramerge"
PLUGINS = ("engines", "formats", "methods", "sources", "targets")
ABOVE_RECIPES = {
    "lock",
    "provenance",
    "stages",
    "reports",
    "previews",
    "page",
    "cli",
}
HEAVY = {
    "torch",
    "diffusers",
    "peft",
    "transformers",
    "huggingface_hub",
    "accelerate",
    "safetensors",
    "numpy",
    "PIL",
    "jinja2",
    "matplotlib",
    "model_signing",
    "sigstore",
    "cryptography",
}

# One door per heavy library. torch is everywhere, but only inside functions.
DOORS = {
    "peft": {"engines/peft.py", "formats/peft.py"},
    "diffusers": {
        "bases/base.py",
        "formats/diffusers.py",
        "formats/kohya.py",
        "previews/pipeline.py",
        "bases/quiet.py",
    },
    "jinja2": {"reports/page/page.py"},
    "matplotlib": {"reports/page/plots.py"},
    "model_signing": {"provenance/signing/verify.py", "provenance/signing/sign.py"},
    "sigstore": {"provenance/signing/sign.py"},
    "cryptography": {"provenance/signing/ec_keys.py", "provenance/signing/sign.py"},
    "huggingface_hub": {
        "hub/errors.py",
        "sources/hub.py",
        "hub/listing.py",
        "targets/hub.py",
        "targets/hub_publication.py",
        "hub/repository.py",
        "hub/retry.py",
        "reports/card.py",
    },
}
# What the classes that a kind of plug-in consists of are called.
PLUGIN_CLASSES = {"formats": ("Output",), "sources": ("Source",), "targets": ("Target",)}
SHARED = {"methods/method.py", "formats/adapter_output.py", "sources/source.py", "targets/target.py"}

FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = {path: path.relative_to(PACKAGE).as_posix() for path in FILES}
by_file = pytest.mark.parametrize("path", FILES, ids=NAMES.values())


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(path, *, at_top_only=False):
    """Full names of what a module imports when it runs; what only a type checker sees is left out."""
    waiting = deque(tree(path).body)
    while waiting:
        node = waiting.popleft()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{NAMES[path]}:{node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif is_type_checking(node):
            waiting.extend(node.orelse)
        elif not (at_top_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))):
            waiting.extend(ast.iter_child_nodes(node))


def own(path, *, at_top_only=False):
    """The modules of the package that a module imports."""
    for name in imports(path, at_top_only=at_top_only):
        parts = name.split(".")
        if parts[0] == "loramerge":
            candidates = [PACKAGE.joinpath(*parts[1:end]) for end in range(len(parts), 1, -1)]
            files = [file for each in candidates for file in (each.with_suffix(".py"), each / "__init__.py")]
            yield from [file for file in files if file in NAMES][:1]


@by_file
def test_plugins_know_neither_recipes_nor_stages(path):
    if NAMES[path].split("/")[0] in PLUGINS:
        above = {NAMES[each].split("/")[0].removesuffix(".py") for each in own(path)}
        assert not above & {"recipe", *ABOVE_RECIPES}


@by_file
def test_a_plugin_knows_no_other_kind_of_plugin(path):
    kind = NAMES[path].split("/")[0]
    if kind in PLUGINS:
        others = {NAMES[each].split("/")[0] for each in own(path)} & set(PLUGINS) - {kind}
        assert others <= ({"methods"} if kind == "engines" else set())


def test_what_a_recipe_consists_of_knows_no_stage():
    waiting, seen = [PACKAGE / "recipe" / "__init__.py"], set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += own(path, at_top_only=True)
    assert PACKAGE / "recipe" / "model.py" in seen
    assert not {NAMES[path].split("/")[0].removesuffix(".py") for path in seen} & ABOVE_RECIPES


@by_file
def test_nothing_below_the_command_line_knows_it(path):
    if not NAMES[path].startswith(("cli/", "__main__")):
        assert not any(name.startswith("loramerge.cli") for name in imports(path))
        assert not any(name.split(".")[0] in {"click", "rich"} for name in imports(path, at_top_only=True))


@by_file
def test_one_door_per_heavy_library(path):
    for name in imports(path):
        library = name.split(".")[0]
        assert NAMES[path] in DOORS.get(library, {NAMES[path]}), f"{NAMES[path]} imports {name}"


@by_file
def test_heavy_libraries_are_imported_where_they_are_used(path):
    assert not {name.split(".")[0] for name in imports(path, at_top_only=True)} & HEAVY


def test_importing_everything_loads_nothing_heavy():
    modules = [f"loramerge.{NAMES[path][:-3]}".replace("/", ".").removesuffix(".__init__") for path in FILES]
    modules = [each for each in modules if not each.endswith("__main__")]
    code = f"import sys, importlib; [importlib.import_module(m) for m in {modules}]; print({HEAVY} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def plugin_classes(kind, path):
    """The public classes in a file that are plug-ins of a kind."""
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            bases = {ast.unparse(each) for each in node.bases}
            if (kind == "methods" and "Method" in bases) or node.name.endswith(PLUGIN_CLASSES.get(kind, ())):
                yield node.name


@by_file
def test_every_plugin_is_named_in_its_folder(path):
    kind = NAMES[path].split("/")[0]
    if kind in PLUGINS and path.name != "__init__.py" and NAMES[path] not in SHARED:
        folder = (path.parent / "__init__.py").read_text(encoding="utf-8")
        for name in plugin_classes(kind, path):
            assert len(re.findall(rf"\b{name}\b", folder)) > 1, f"{name} is not listed in {kind}/__init__.py"


@pytest.mark.parametrize("kind", ["formats", "methods", "sources", "targets"])
def test_plugins_are_told_from_what_they_share(kind):
    assert [name for path in FILES if path.parent.name == kind for name in plugin_classes(kind, path)]


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "engines"], ids=lambda path: path.stem)
def test_every_engine_can_be_asked_for(path):
    names = set().union(*(get_args(method.model_fields["engine"].annotation) for method in METHODS))
    assert path.stem in {"__init__", *names}


@by_file
def test_modules_are_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 250
