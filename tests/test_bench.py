"""The benchmarks run, in their smallest form; how fast anything is plays no part here."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import forked_python
import pytest
import torch

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "tests" / "bench"
SMALLEST = ("--models", "tiny", "--loras", "2", "--threads", "1")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def process(script, *arguments):
    return subprocess.run([sys.executable, script, *map(str, arguments)], capture_output=True, text=True, check=False)


def measured(folder, *arguments, run=forked_python.run):
    done = run(BENCH / "run.py", *arguments, *SMALLEST, "--write", folder / "rows.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "rows.json").read_text())
    assert found["machine"]["cores"] >= found["machine"]["threads"] == 1
    assert {"python", "torch", "peft", "diffusers"} <= {*found["versions"]}
    for row in found["rows"]:
        check(row)
        assert row["part"] in done.stdout
    return found["rows"], (folder / "rows.md").read_text(), done.stderr


def check(row):
    """Both sides are there, as often as each other, and the ratios are theirs."""
    assert len(row["sides"]) > 1
    runs = {len(values) for figures in row["sides"].values() for values in figures.values()}
    assert len(runs) == 1
    assert all(value > 0 for figures in row["sides"].values() for value in (*figures["seconds"], *figures["cpu"]))
    assert row["ratios"]
    for ratio in row["ratios"]:
        over, under = (row["sides"][ratio[which]]["seconds"] for which in ("over", "under"))
        each = [one / other for one, other in zip(over, under, strict=True)]
        assert ratio["median"] == pytest.approx(statistics.median(each))
        assert (ratio["least"], ratio["most"]) == pytest.approx((min(each), max(each)))


@pytest.mark.long
def test_merging(tmp_path):
    types = ("linear", "ties_svd")
    rows, tables, errors = measured(
        tmp_path, "--only", "merging", "--ranks", 2, 4, "--runs", 2, "--profile", "--types", *types
    )
    assert [row["type"] for row in rows] == [*types, *types]
    assert {row["rank"] for row in rows} == {2, 4}
    assert all({*row["sides"]} == {"PEFT", "loramerge", "floor"} for row in rows)
    assert all(row["merged"] == row["layers"] for row in rows)
    assert "rank 2 to 4" in tables
    assert "2 LoRAs, rank 4" in tables
    assert all(f"{row['type']}, tiny, 2 LoRAs of rank" in errors for row in rows)


@pytest.fixture(scope="module")
def rest(tmp_path_factory):
    """The parts that start most processes, in one run."""
    return together(
        tmp_path_factory.mktemp("rest"),
        {"fused": 1, "commands": 3, "files": 1, "fusing": 1, "starting": 2, "extracting": 1},
    )


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """A part whose processes are real ones, as a user has them."""
    return together(tmp_path_factory.mktemp("processes"), {"whole": 1}, run=process)


def together(folder, parts, **how):
    only = [each for part in parts for each in ("--only", part)]
    rows, tables, _ = measured(folder, *only, "--ranks", 4, "--runs", 1, "--types", "svd", "--cold", **how)
    found = {part: [row for row in rows if row["part"] == part] for part in parts}
    assert {part: len(each) for part, each in found.items()} == parts
    return found, tables


@pytest.mark.long
def test_files(rest):
    (row,), tables = rest[0]["files"], rest[1]
    assert row["layers"] == 192
    for side in ("PEFT", "loramerge"):
        assert row["sides"][side]["peak_mb"][0] > row["sides"][side]["above_torch_mb"][0] > 0
    assert row["sides"]["PEFT"]["call"][0] < row["sides"]["PEFT"]["seconds"][0]
    assert "Merging 2 LoRAs of rank 4 for tiny UNet: 192 layers" in tables


@pytest.mark.long
def test_fusing(rest):
    (row,), tables = rest[0]["fusing"], rest[1]
    assert {*row["sides"]} == {"diffusers", "loramerge", "copy", "digest", "sums"}
    assert all(row["steps"][step] > 0 for step in ("reading", "sums and rounding", "writing", "digests out"))
    assert all(figures["peak_mb"][0] > 0 for figures in row["sides"].values())
    assert row["file_mb"] > 1
    assert "| tiny UNet" in tables


@pytest.mark.long
def test_starting(rest):
    rows, tables = rest[0]["starting"], rest[1]
    assert [row["what"] for row in rows] == ["validate", "run"]
    assert "| `loramerge run, empty cache` |" in tables


@pytest.mark.long
def test_extracting(rest):
    (row,), tables = rest[0]["extracting"], rest[1]
    theirs, ours = (row["sides"][side]["error"][0] for side in ("kohya's method", "loramerge"))
    assert 0 < ours < theirs < 1
    assert "| tiny UNet, 192 layers, rank 32" in tables


@pytest.mark.long
def test_the_whole_command(processes):
    (row,), tables = processes[0]["whole"], processes[1]
    assert (row["model"], row["layers"]) == ("pixart", 287)
    assert {*row["sides"]} == {"loramerge merge", "read and write", "concatenate, as kohya's script"}
    assert all(figures["peak_mb"][0] > 0 for figures in row["sides"].values())
    assert "| `pixart`, 287 layers, rank 4" in tables


@pytest.mark.long
def test_a_fused_pipeline_as_whole_processes(rest):
    (row,), tables = rest[0]["fused"], rest[1]
    assert {*row["sides"]} == {
        "loramerge run, base not seen before",
        "loramerge run",
        "diffusers' script",
        "cp -r, sha256sum",
        "loramerge run, nothing to do",
    }
    assert all(figures["peak_mb"][0] > 0 for side, figures in row["sides"].items() if "cp" not in side)
    assert len(row["cpu_ratios"]) == len(row["ratios"])
    assert tables.index("## The whole command: a fused pipeline") < tables.index("## Fusing")


@pytest.mark.long
def test_adapters_as_whole_processes(rest):
    adapter, small, many = rest[0]["commands"]
    assert [row["what"] for row in (adapter, small, many)] == ["adapter", "small merge", "many recipes"]
    theirs = {"kohya's way", "PEFT by hand", "diffusers' guide by hand"}
    assert theirs | {"loramerge run", "loramerge run, full report"} <= {*adapter["sides"]}
    assert set(many["sides"]) == {"plan of 1", "plan of 40", "plan of 1000", "run of 40, nothing to do"}
    assert "### A small merge" in rest[1]


def test_a_part_that_is_measured_anew_leaves_the_others_as_they_are(tmp_path):
    code = (
        "import json, pathlib, sys; sys.path.insert(0, sys.argv[1]); import run; file = pathlib.Path(sys.argv[2]); "
        "head = {'command': 'all', 'machine': 1}; part = {'command': 'one', 'machine': 2}; "
        "old, new = ({'part': name, 'is': age} for name, age in (('whole', 'old'), ('whole', 'new'))); "
        "file.write_text(json.dumps({**head, 'rows': [{'part': 'fused'}, old, {'part': 'merging'}]})); "
        "print(json.dumps(run._beside({**part, 'rows': [new]}, file)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, BENCH, tmp_path / "rows.json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {
        "command": "all",
        "machine": 1,
        "rows": [{"part": "fused"}, {"part": "whole", "is": "new"}, {"part": "merging"}],
        "apart": {"whole": {"command": "one", "machine": 2}},
    }


@pytest.mark.gpu
@needs_cuda
def test_merging_on_cuda(tmp_path):
    rows, tables, _ = measured(
        tmp_path, "--only", "merging", "--ranks", 4, "--runs", 1, "--types", "svd", "ties", "--device", "cuda"
    )
    assert len(rows) == 2
    assert " with an " in tables


@pytest.mark.long
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_cuda_nothing_is_measured_on_it():
    done = forked_python.run(BENCH / "run.py", "--device", "cuda", *SMALLEST)
    assert (done.returncode, done.stdout) == (0, "")
    assert "no CUDA device" in done.stderr


def test_large_models_are_sampled(tmp_path):
    """Every nth layer of each shape, and the time is that of all by the number of values."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from models import Sample; "
        "layers = {f'a{n}': (4, 6) for n in range(10)} | {f'b{n}': (8, 2, 1, 1) for n in range(3)}; "
        "whole, some = Sample.of(layers, 1000), Sample.of(layers, 40); "
        "print(whole.chosen == tuple(layers), whole.factor, some.chosen, some.factor, some.of_each_shape(2))"
    )
    done = subprocess.run([sys.executable, "-c", code, BENCH], capture_output=True, text=True, check=True, cwd=tmp_path)
    # 130 values: every fourth of each shape, 40 values of them.
    said = "True 1.0 ('a0', 'a4', 'a8', 'b0') 3.25 [(['a0', 'a1'], 5.0), (['b0', 'b1'], 1.5)]"
    assert done.stdout.strip() == said
