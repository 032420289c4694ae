"""Processor seconds of each step of a merge, measured where it is called; a step within a step is not counted twice."""

from __future__ import annotations

import hashlib
import importlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

MERGING = {
    "random masks": "merging.kernels.keep_mask",
    "deltas": "merging.kernels._delta",
    "decomposition of the product": "merging.kernels.of_product",
    "Gram matrix of the delta": "numerics.subspace.gram_of",
    "search for its vectors": "numerics.subspace._search",
    "their proof in float64": "numerics.subspace._proven",
    "all of its vectors": "numerics.svd.leading",
    "pruning, signs, sums": "merging.kernels.merged",
}
RUNNING = {
    "looking for NaN": "formats.assemble._check_numbers",
    "digests in": "files.file_view.sha256_in",
    "reading": "engines.factored.shares",
    "merging": "merging.kernels.merged",
    "fidelity": "stages.combine.measure_module",
    "looking at the result": "merging.checks.check_finite",
    "keeping it": "tensor_files.lazy.Spool.keep",
    "rounding, reading back": "tensor_files.safetensors._made",
    "writing": "tensor_files.write_behind.SteadyWriter.write",
    "to the disk": "tensor_files.write_behind.SteadyWriter.let_go",
}
FUSING = {
    "reading": "tensor_files.stream._read_block",
    "sums and rounding": "tensor_files.stream.add",
    "writing": "tensor_files.write_behind.SteadyWriter.write",
    "to the disk": "tensor_files.write_behind.SteadyWriter.let_go",
}
DIGESTS, REST = "digests out", "the rest"


@contextmanager
def counted(steps: dict[str, str]) -> Iterator[dict[str, float]]:
    """Seconds by step, complete after a `with` in which the steps were called, by any thread.

    Args:
        steps: Step → function that does it, by its name within loramerge.
    """
    found: dict[str, float] = {}
    counter: Counter[str] = Counter()
    begin = time.process_time()
    with ExitStack() as stack:
        for step, name in steps.items():
            owner, function = _owner(name)
            stack.enter_context(patch.object(owner, function, _timed(step, getattr(owner, function), counter)))
        digests = SimpleNamespace(sha256=lambda start: _Digest(start, counter))
        for module in ("safetensors", "new_files"):
            stack.enter_context(patch(f"loramerge.tensor_files.{module}.hashlib", digests))
        yield found
    spent = time.process_time() - begin
    found |= {step: counter[step] for step in (*steps, DIGESTS) if counter[step] > 0}
    found[REST] = max(spent - sum(counter.values()), 0.0)


def _owner(name: str) -> tuple[Any, str]:
    path, function = name.rsplit(".", 1)
    try:
        return importlib.import_module(f"loramerge.{path}"), function
    except ModuleNotFoundError:
        module, owner = path.rsplit(".", 1)
        return getattr(importlib.import_module(f"loramerge.{module}"), owner), function


_within = threading.local()
_adding = threading.Lock()


def _timed(step: str, function: Callable[..., Any], counter: Counter[str]) -> Callable[..., Any]:
    @wraps(function)
    def timed(*arguments: Any, **options: Any) -> Any:
        outer, _within.seconds = getattr(_within, "seconds", 0.0), 0.0
        begin = time.thread_time()
        try:
            return function(*arguments, **options)
        finally:
            took = time.thread_time() - begin
            with _adding:
                counter[step] += took - _within.seconds
            _within.seconds = outer + took

    return timed


class _Digest:
    """SHA-256 whose time is counted."""

    def __init__(self, start: bytes, counter: Counter[str]) -> None:
        self._digest = hashlib.sha256(start)
        self.update = _timed(DIGESTS, self._digest.update, counter)
        self.hexdigest = self._digest.hexdigest
