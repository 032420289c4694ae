"""What each combination type keeps of each LoRA: concepts counted in pictures that the miniature draws.

    python tests/compared/run.py [--seeds 8] [--steps 8] [--jobs 2] [--main] [--quick] [--page FILE] [--again FILE]

Every group of LoRAs (pairs, triples, all eight) is merged in every way; the base with the merge draws the same prompts
from the same noise; a classifier, trained first, says which concepts each picture shows. Writes
docs/methods-compared.md, a sheet of pictures beside it, and all figures into build/methods-compared.json, from which
`--again` writes the page once more. What is finished of a run lies in build/methods-compared/, from which one that was
cut off goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import random
import resource
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "recipes" / "quickstart"
PAGE = ROOT / "docs" / "methods-compared.md"
FIGURES = ROOT / "build" / "methods-compared.json"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "bench"), str(MODELS)]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process for each core does more than threads of one

import torch  # noqa: E402  after the number of threads is set
from compared import page  # noqa: E402  it lies above this folder; so do the others
from compared.cases import groups, settings  # noqa: E402
from compared.judge import CONCEPTS, Effort, Judge, held_out, trained  # noqa: E402
from compared.measuring import Bench, Plan, without_pictures  # noqa: E402
from machine import machine, versions  # noqa: E402
from marked import inserted  # noqa: E402

SHEET = (("ink", "sun"), ("glow", "star"), ("dip", "huge"), ("ink", "glow", "paper"), ("star", "paper", "huge"))
_bench: list[Bench] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8, help="pictures of each group and way")
    parser.add_argument("--steps", type=int, default=8, help="of the sampler")
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--main", action="store_true", help="one setting of each type and space")
    parser.add_argument("--types", nargs="+", help="these combination types alone")
    parser.add_argument("--quick", action="store_true", help="next to nothing of everything: to see that it runs")
    parser.add_argument("--loras", type=Path, default=MODELS, help="where their files lie")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables go, between their marks")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where all figures go")
    parser.add_argument("--kept", type=Path, default=FIGURES.with_suffix(""), help="what is finished of a run")
    parser.add_argument("--only", nargs="+", help="groups of these LoRAs alone")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after so many no other group is begun")
    parser.add_argument("--again", type=Path, help="write the page from these figures, and measure nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.again:
        run = json.loads(arguments.again.read_text(encoding="utf-8"))
    else:
        run = measured(arguments, chosen(arguments, settings()))
        arguments.figures.parent.mkdir(parents=True, exist_ok=True)
        arguments.figures.write_text(json.dumps(run) + "\n", encoding="utf-8")
    written = inserted(arguments.page.read_text(encoding="utf-8"), "compared", page.text(run))
    arguments.page.write_text(written, encoding="utf-8", newline="\n")
    print(f"wrote {arguments.page}")


def chosen(arguments, ways):
    """The ways that were asked for."""
    if arguments.quick:
        ways = [way for way in ways if way.type in ("cat", "ties", "svd") and way.main]
    if arguments.types:
        ways = [way for way in ways if way.type in arguments.types]
    return [way for way in ways if way.main] if arguments.main else ways


def measured(arguments, ways):
    """Train the classifier, measure every group, and put the pictures beside the page."""
    begin, before = time.monotonic(), _processor()
    torch.set_num_threads(1)
    arguments.kept.mkdir(parents=True, exist_ok=True)
    judge, accuracy = _judge(arguments)
    quick = arguments.quick
    todo = [group for group in groups() if not arguments.only or {*group} <= {*arguments.only}]
    if quick:
        todo = [todo[0], todo[28], todo[-1]]
    plan = Plan(
        base=MODELS / "base",
        loras={name: arguments.loras / f"{name}.safetensors" for name in (arguments.only or CONCEPTS)},
        settings=ways,
        seeds=2 if quick else arguments.seeds,
        steps=2 if quick else arguments.steps,
        guidance=arguments.guidance,
        judge={name: values.numpy() for name, values in judge.state_dict().items()},
        sheet=(*SHEET, CONCEPTS),
        kept=arguments.kept,
        until=time.time() + 60 * arguments.minutes,
    )
    found = {}
    # The largest group takes longest, and comes first: else one process would work on it alone in the end. Pairs come
    # in an order that leaves out no LoRA more than others, where time ends before they do.
    order = sorted(random.Random(0).sample(todo, len(todo)), key=len, reverse=True)
    for result in filter(None, _results(plan, order, arguments.jobs)):
        found[tuple(result["group"])] = result
        minutes = (time.monotonic() - begin) / 60
        _say(f"{len(found)} of {len(todo)}: {' + '.join(result['group'])}, {minutes:.1f} minutes")
    results = [found[group] for group in todo if group in found]
    columns = [found[group] for group in (*SHEET, CONCEPTS) if group in found]
    pictures = arguments.page.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    page.sheet(columns, [str(way) for way in ways if way.main], pictures / "methods-compared.jpg")
    on = machine("cpu")
    return {
        "command": " ".join(["python", *map(_relative, sys.argv)]),
        "machine": f"{on['processor']}, {on['cores']} cores, {on['memory_gb']} GB, load {on['load_before']} at the end",
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "minutes": (time.monotonic() - begin) / 60,
        "cpu_minutes": (_processor() - before) / 60,
        "jobs": arguments.jobs,
        "ways": {str(way): way.main for way in ways},
        "left_out": len(todo) - len(results),
        "seeds": plan.seeds,
        "steps": plan.steps,
        "guidance": plan.guidance,
        "judge": accuracy,
        "results": [without_pictures(result) for result in results],
    }


def _judge(arguments):
    """(the classifier, its accuracy): as it lies there, or trained."""
    from diffusers import AutoencoderKL

    effort = Effort(drawings=80, steps=20, held_out=20) if arguments.quick else Effort()
    code = (ROOT / "tests/compared/judge.py").read_bytes() + (MODELS / "train/scenes.py").read_bytes()
    digest = hashlib.sha256(code + repr(effort).encode()).hexdigest()[:12]
    weights, figures = (arguments.kept / f"judge-{digest}.{kind}" for kind in ("pt", "json"))
    judge = Judge().eval()
    if figures.exists():
        judge.load_state_dict(torch.load(weights, weights_only=True))
        return judge, json.loads(figures.read_text(encoding="utf-8"))
    vae = AutoencoderKL.from_pretrained(MODELS / "base" / "vae", local_files_only=True)
    judge = trained(vae, effort)
    accuracy = held_out(judge, vae, effort)
    torch.save(judge.state_dict(), weights)
    figures.write_text(json.dumps(accuracy), encoding="utf-8")
    _say(
        f"the classifier is trained: {', '.join(f'{name} {min(each.values()):.3f}' for name, each in accuracy.items())}"
    )
    return judge, accuracy


def _results(plan: Plan, order, jobs: int):
    """What is found of each group; None of one that there was no time for."""
    if jobs == 1:
        _begin(plan)
        yield from map(_group, order)
        return
    with multiprocessing.get_context("spawn").Pool(min(jobs, len(order)), _begin, (plan,)) as pool:
        yield from pool.imap_unordered(_group, order)
        pool.close()
        pool.join()  # only what has ended counts as processor time of children


def _begin(plan: Plan) -> None:
    warnings.simplefilter("ignore")
    _bench.append(Bench(plan))


def _group(names):
    return _bench[0].group(names)


def _relative(argument: str) -> str:
    path = Path(argument)
    return path.resolve().relative_to(ROOT).as_posix() if path.resolve().is_relative_to(ROOT) else path.name


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
