"""Same recipe, same inputs, same environment: the same files, whatever else is different around them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import foreign
import forked_python
import pytest
import tiny
import torch
from command_line import ROOT, write_recipe

from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.fidelity import measure
from loramerge.artifact.in_toto import STATEMENT, Statement
from loramerge.bases.published import architecture
from loramerge.files.digest import files_of
from loramerge.methods import METHODS
from loramerge.provenance import comparison
from loramerge.stages.combine import WeightedAdapter, combine

ADAPTERS = [{"kind": "adapter", "format": name, "dtype": "float16"} for name in ("peft", "diffusers", "kohya")]
LORAS = {"a": {"source": "a.safetensors", "weight": 0.7}, "b": {"source": "b.safetensors", "weight": -0.4}}
RECIPES = {
    "everything": {
        "description": "Suppe für alle: 面",
        "report": "full",
        "merge": {"combination_type": "cat"},
        "outputs": [*ADAPTERS, {"kind": "inputs"}, {"kind": "pipeline", "max_shard_size": "100KB"}],
        "preview": {"prompts": ["a bowl"], "seeds": [0], "steps": 2, "width": tiny.SIZE, "height": tiny.SIZE},
    },
    "random": {"merge": {"combination_type": "dare_ties", "density": 0.5}, "outputs": ADAPTERS},
    "decomposed": {"merge": {"combination_type": "svd"}, "outputs": ADAPTERS, "report": "full"},
}
SURROUNDINGS = {
    "other": SimpleNamespace(
        threads=1,
        umask=0o077,
        env={
            "PYTHONHASHSEED": "1",
            "TZ": "Asia/Tokyo",
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
            "OMP_NUM_THREADS": "2",  # and so many workers
        },
    ),
}
# A number of threads, like a time zone, is nothing that Python or torch has to know as it starts.
HERE = {"plain": SimpleNamespace(threads=1, umask=0o022, env={"TZ": "UTC"})}
THREADS = {
    "two threads": SimpleNamespace(threads=2, umask=0o002, env={"TZ": "America/Lima"}),
    "four threads": SimpleNamespace(threads=4, umask=0o022, env={}),
}
PROGRAM = """
import os, sys
import torch
os.umask(int(sys.argv[2]))
torch.set_num_threads(int(sys.argv[1]))
from loramerge.cli import main
sys.argv[1:] = ["run", *sys.argv[3:], "--device", "cpu"]
main()
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A base, two LoRAs and the recipes."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(tiny.folder("sd15"), folder / "base")
    for seed, name in enumerate(LORAS):
        pairs = foreign.random_lora(tiny.shared("sd15"), rank=4, alpha=2.0, seed=seed, conv_rank=2, few=True)
        metadata = {"modelspec.trigger_phrase": name, "ss_tag_frequency": json.dumps({name: {"y": 1, "x": 2}})}
        foreign.write_kohya(pairs, folder / f"{name}.safetensors", text_prefixes=("lora_te_",), metadata=metadata)
    for name, more in RECIPES.items():
        write_recipe(folder, name=name, base="base", loras=LORAS, **more)
    return folder


@pytest.fixture(scope="module")
def artifacts(workspace, tmp_path_factory):
    """Surroundings → the files that were made in them, each from a copy of the workspace in a place of its own."""

    def made(name, around, run):
        folder = tmp_path_factory.mktemp(name.replace(" ", "-"))
        copy = shutil.copytree(workspace, folder / f"of {name}")
        here = folder / name / "below"
        here.mkdir(parents=True)
        done = run("-c", PROGRAM, str(around.threads), str(around.umask), str(copy), cwd=here, env=around.env)
        assert done.returncode == 0, done.stderr
        # What is remembered beside the artifacts knows where the recipes lie.
        made = files_of(here / "dist")
        return {name: path for name, path in made.items() if not name.startswith(".loramerge/")}

    processes = {name: made(name, around, process) for name, around in SURROUNDINGS.items()}
    return processes | {name: made(name, around, forked_python.run) for name, around in (HERE | THREADS).items()}


def process(*arguments, cwd, env):
    own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **env}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=own, capture_output=True, check=False)


def differing(artifacts, surroundings):
    first, other = artifacts["plain"], artifacts[surroundings]
    assert list(first) == list(other)
    return {name for name, path in first.items() if path.read_bytes() != other[name].read_bytes()}


@pytest.mark.long
def test_every_kind_of_file_is_there(artifacts):
    made = artifacts["plain"]
    assert {name.split("/")[1] for name in made if name.startswith("everything/")} == {
        "README.md", "diffusers", "inputs", "kohya", "peft", "pipeline", "preview", "provenance.json",
        "recipe.lock.yaml", "recipe.yaml", "report.html", "report.json",
    }  # fmt: skip
    assert any("-of-0000" in name for name in made)


@pytest.mark.long
def test_surroundings_change_nothing(artifacts):
    assert differing(artifacts, "other") == set()


@pytest.mark.long
@pytest.mark.parametrize("surroundings", THREADS)
def test_threads_change_what_the_provenance_says_and_no_more(artifacts, surroundings):
    names = {name for name in differing(artifacts, surroundings) if not name.endswith(f"/{STATEMENT}")}
    for recipe in RECIPES:
        provenance = Statement.parse(artifacts["plain"][f"{recipe}/{STATEMENT}"].read_text(encoding="utf-8"))
        allowed = provenance.predicate["buildDefinition"]["internalParameters"]["bytesDependOnEnvironment"]
        assert {name.split("/")[1] for name in names if name.startswith(f"{recipe}/")} <= set(allowed)
        assert allowed == {
            "everything": ["preview", "report.html"], "random": [],
            "decomposed": ["README.md", "diffusers", "kohya", "peft", "report.html", "report.json"],
        }[recipe]  # fmt: skip
    for name in names:
        if name.endswith((".png", ".html")):
            assert comparison.files(artifacts["plain"][name], artifacts[surroundings][name]).within


@pytest.fixture
def with_threads():
    """Calls a function with one, two and four threads."""
    before = torch.get_num_threads()

    def call(function):
        found = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append(function())
        return found

    yield call
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def wide():
    """Two LoRAs on layers as wide as real ones: short sums are never split among threads."""
    base, generator = architecture("sd15"), torch.Generator().manual_seed(0)
    names = [f"text_model.encoder.layers.0.{layer}" for layer in ("mlp.fc1", "mlp.fc2", "self_attn.q_proj")]
    shapes = {name: base.components["text_encoder"].modules[name] for name in names}
    adapters = [
        Adapter({"text_encoder": {name: random_pair(*shape, 40, generator) for name, shape in shapes.items()}})
        for _ in range(2)
    ]
    return base, [
        WeightedAdapter(name, lora, weight) for name, lora, weight in zip("ab", adapters, (0.7, -0.4), strict=True)
    ]


def random_pair(out, inner, rank, generator):
    return LowRank(torch.randn(rank, inner, generator=generator), torch.randn(out, rank, generator=generator), 0.5)


@pytest.mark.long
@pytest.mark.parametrize(
    "method", [method for method in METHODS if not method.decomposes], ids=lambda method: method.__name__
)
def test_threads_do_not_change_a_merge_of_wide_layers(wide, with_threads, method):
    base, loras = wide
    name = method.model_json_schema()["properties"]["combination_type"]["const"]
    density = {"density": 0.5} if "density" in method.model_fields else {}
    merge = method(combination_type=name, **density)
    first, *others = with_threads(lambda: combine(loras, base, merge, device="cpu").adapter)
    for other in others:
        for (_, _, one), (_, _, two) in zip(first, other, strict=True):
            assert torch.equal(one.down, two.down)
            assert torch.equal(one.up, two.up)


def test_threads_do_not_change_the_fidelity(with_threads):
    generator = torch.Generator().manual_seed(0)
    pairs = [Adapter({"unet": {"m": random_pair(1280, 11520, rank, generator)}}) for rank in (8, 32, 200)]
    loras = {name: (pair, lambda *_: 0.7) for name, pair in zip("ab", pairs, strict=False)}
    one, two, four = with_threads(lambda: measure(pairs[2], loras))
    assert one == two == four
