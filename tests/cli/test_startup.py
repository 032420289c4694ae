"""What a command loads before it works. How long that takes is measured in bench/starting.py."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from command_line import MODELS, QUICKSTART, ROOT, invoke, listing, write_recipe

pytestmark = pytest.mark.slow

BUILDERS = {"diffusers", "transformers", "accelerate", "peft"}
STORAGE = {"s3fs", "botocore"}
HEAVY = {"torch", "huggingface_hub", "safetensors", "numpy", "rich", "matplotlib", "jinja2", *STORAGE, *BUILDERS}
# What is written without any of the libraries that build models.
LIGHT = (("adapter", "diffusers"), ("adapter", "kohya"), ("pipeline", None))
CODE = f"""
import sys
from loramerge.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*sorted({HEAVY} & {{*sys.modules}}), sep=",", file=sys.stderr)
"""
# Ends the process where peft is imported: what is done with it is tested elsewhere.
UNTIL_PEFT = """
import os, sys
def watch(event, arguments):
    if event == "import" and arguments[0] == "peft":
        os.write(2, b"peft")
        os._exit(0)
sys.addaudithook(watch)
"""


def loaded(*arguments, code=CODE, **env):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, **env})
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["lock", "--help"],
        ["inspect", "--help"],
        ["init", "--help"],
        ["validate", QUICKSTART],
        ["schema"],
        ["completion", "bash"],
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_what_needs_no_heavy_library_loads_none(arguments):
    assert loaded(*arguments) == ""


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """A recipe for the factored engine, run with an empty cache; and what it takes to run another with the same."""
    folder = tmp_path_factory.mktemp("cold")
    cache = folder / "cache"

    def run(name, *formats, code=CODE, **more):
        loras = {name: MODELS / f"{name}.safetensors" for name in ("ink", "glow")}
        merge = {"combination_type": "cat", "engine": "factored"}
        outputs = [{"kind": kind, **({"format": each} if each else {})} for kind, each in formats]
        settings = {"merge": merge, "outputs": outputs, "license": "mit", **more}
        recipe = write_recipe(folder, base=MODELS / "base", loras=loras, **settings)
        arguments = ["run", recipe, "--rebuild", "--device", "cpu", "--out", folder / name]
        return {*loaded(*arguments, code=code, XDG_CACHE_HOME=str(cache)).split(",")}

    libraries = run("cold", *LIGHT)
    entries = listing(cache / "loramerge" / "shapes")
    return SimpleNamespace(run=run, libraries=libraries, folder=folder, cache=cache, entries=entries)


@pytest.mark.long
def test_a_base_that_was_never_seen_is_built(cold):
    assert {"diffusers", "transformers"} <= cold.libraries
    assert len(cold.entries) == 3  # the UNet and both text encoders


@pytest.mark.long
def test_a_merge_from_factors_builds_no_base_twice(cold):
    libraries = cold.run("warm", *LIGHT)
    assert "torch" in libraries
    assert not libraries & BUILDERS
    assert listing(cold.folder / "warm") == listing(cold.folder / "cold")


@pytest.mark.long
def test_a_damaged_cache_changes_nothing_and_is_mended(cold):
    for name, content in cold.entries.items():
        (cold.cache / "loramerge" / "shapes" / name).write_bytes(content[: len(content) // 2])
    assert "diffusers" in cold.run("damaged", *LIGHT)
    assert listing(cold.folder / "damaged") == listing(cold.folder / "cold")
    assert listing(cold.cache / "loramerge" / "shapes") == cold.entries


@pytest.mark.long
@pytest.mark.parametrize("output", [("adapter", "peft"), ("inputs", None)], ids=["peft", "inputs"])
def test_peft_describes_its_own_format(cold, output):
    assert cold.run("peft", output, code=UNTIL_PEFT + CODE) == {"peft"}


@pytest.mark.long
def test_inspecting_builds_no_base_twice():
    # In the cache of the session: whichever test was first has built the published bases.
    assert invoke("inspect", MODELS / "glow.safetensors", "--json").exit_code == 0
    assert not {*loaded("inspect", MODELS / "glow.safetensors", "--json").split(",")} & BUILDERS
