"""Look for bytes of strangers that break loramerge, with Atheris: every target in turn, or those that are named.

    python tests/fuzz/run.py [TARGET ...] [--seconds 60] [--corpus build/fuzz]

What was found interesting stays in the corpus, from which the next call goes on. Ends with 1 where something broke, and
says where the bytes lie: they go to tests/fuzz/found/TARGET/ with what mends them.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fuzz.targets import TARGETS  # noqa: E402  it lies in this folder


def main() -> int:
    """Try each target for its share of the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS])
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--corpus", type=Path, default=HERE.parents[1] / "build" / "fuzz")
    options = parser.parse_args()
    chosen = options.targets or [*TARGETS]
    counts, broken = {}, []
    for name in chosen:
        count, found = tried(name, options.corpus / name, max(1, options.seconds // len(chosen)))
        counts[name] = count
        broken += found
        print(f"{name}: {count:,} executions" + "".join(f"; broken by {each}" for each in found), flush=True)
    print(f"{sum(counts.values()):,} executions in all, {len(broken)} broke something")
    return bool(broken)


def tried(name: str, corpus: Path, seconds: int) -> tuple[int, list[Path]]:
    """How often a target was executed, and the files that broke it."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    crashes = corpus.parent / f"{name}-crashes"
    crashes.mkdir(exist_ok=True)
    before = {*crashes.iterdir()}
    done = subprocess.run(
        [
            sys.executable, HERE / "one.py", name, corpus, f"-max_total_time={seconds}", "-timeout=60",
            "-report_slow_units=60", "-rss_limit_mb=4096", "-max_len=8192", "-print_final_stats=1",
            f"-artifact_prefix={crashes}/",
        ],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    count = re.search(r"number_of_executed_units:\s+(\d+)", done.stderr)
    found = sorted({*crashes.iterdir()} - before)
    if done.returncode and not found:
        raise RuntimeError(f"{name} did not run: {done.stderr[-2000:]}")
    return int(count[1]) if count else 0, found


if __name__ == "__main__":
    sys.exit(main())
