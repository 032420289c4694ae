"""The LoRA that is nearest to the difference of two models, layer by layer, a few of them in memory at a time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loramerge.adapter import Adapter, LowRank
from loramerge.errors import LoramergeError, MismatchError
from loramerge.extraction.compare import layers_of_both, left_out
from loramerge.extraction.difference import difference
from loramerge.extraction.extraction import Extracted, ExtractedModule, Extraction
from loramerge.extraction.parameters import names_of, parameter_differences
from loramerge.messages import some
from loramerge.numerics.finite import is_finite
from loramerge.numerics.gram import distance_of
from loramerge.numerics.threads import cores, in_order, one_thread, workers
from loramerge.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.extraction.compare import Both
    from loramerge.extraction.cut import Cut
    from loramerge.extraction.parameters import DifferingParameter
    from loramerge.extraction.weights import Weights
    from loramerge.numerics.svd import Decomposition

_AHEAD = 4  # layers per worker that are worked on or waiting at a time
_MEMORY = 512 << 20  # bytes of weights in float32 that are worked on at a time
_TIMES = 3  # as much as a weight takes is in memory with it: both models' numbers, and what is left of the difference


def extract(
    tuned: Weights,
    base: Weights,
    cut: Cut,
    *,
    keep: Callable[[LowRank], LowRank] = lambda pair: pair,
    progress: Progress | None = None,
) -> Extracted:
    """The nearest LoRA (Eckart and Young) of the difference of two models.

    Layers are worked on side by side, each on one thread: neither their order nor the number of workers can show.

    Args:
        tuned: The model that was trained.
        base: What it was trained from.
        cut: To which rank.
        keep: Puts a pair where it is to wait, and gives it back from there; in memory by default.
        progress: Told of every layer.

    Raises:
        MismatchError: The models do not fit together, or there is nothing to extract.
        SourceError: A file can't be read, or a number in it is NaN or infinite.
        LoramergeError: A difference is more than float32 holds, or a pair can't be kept.
    """
    cut.check(base.base)
    layers, notes = layers_of_both(tuned, base)
    wanted = [layer for layer in layers if cut.wants(layer.component)]
    progress = progress or Silent()
    progress.start("extract", len(wanted))
    room = _Room(_MEMORY)
    pairs: dict[str, dict[str, LowRank]] = {}
    facts: dict[str, dict[str, ExtractedModule]] = {}
    same: dict[str, Counter[str]] = {"equal": Counter(), "rounded": Counter()}

    def one(layer: Both) -> tuple[Both, _MadePair | str]:
        with room.taken(_TIMES * layer.size):
            found = _extracted(layer, cut)
            return layer, found if isinstance(found, str) else _MadePair(keep(found.pair), found.facts)

    count = cores()
    with one_thread(), workers(count) as pool:
        for layer, found in in_order(pool, one, wanted, ahead=_AHEAD * count):
            if isinstance(found, str):
                same[found][layer.component] += 1
            else:
                pairs.setdefault(layer.component, {})[layer.module] = found.pair
                facts.setdefault(layer.component, {})[layer.module] = found.facts
            progress.advance()
        if not pairs:
            raise _nothing_left(tuned, base, wanted)
        compared = {layer.component for layer in wanted} if cut.parameters else set()
        kept = [*parameter_differences(tuned, base, compared)]
        for each in kept:
            pairs.setdefault(each.component, {})[each.key] = keep(each.delta)
        others, more = left_out(tuned, base, taken=names_of(tuned, compared) | names_of(base, compared))
    result = Extraction(
        tuned=tuned.reference,
        base=base.reference,
        modules=facts,
        equal=same["equal"],
        rounded=same["rounded"],
        unwanted=Counter(layer.component for layer in layers if not cut.wants(layer.component)),
        left_out=others,
        notes=(*notes, *_parameters_kept(kept), *more),
    )
    return Extracted(Adapter(pairs), result)


@dataclass(frozen=True)
class _MadePair:
    """A pair, and how near it is."""

    pair: LowRank
    facts: ExtractedModule


def _extracted(layer: Both, cut: Cut) -> _MadePair | str:
    matrix = difference(layer.tuned, layer.base, layer.shape)
    if isinstance(matrix, str):
        return matrix
    found = cut.decomposed(matrix, layer.component)
    up, down = _factors(found)
    if not (is_finite(up) and is_finite(down)):
        raise LoramergeError(
            f"{layer.component}.{layer.module} differs by more than float32 holds",
            hint="one of both files is damaged; fetch it again",
        )
    facts = ExtractedModule(len(found.values), found.energy**0.5, distance_of(matrix, up, down))
    shapes = LowRank(down, up, 1.0).factor_shapes(layer.shape)
    return _MadePair(LowRank(down.reshape(shapes[0]), up.reshape(shapes[1]), 1.0), facts)


def _parameters_kept(found: Sequence[DifferingParameter]) -> Iterator[str]:
    if found:
        size = 4 * sum(each.delta.size for each in found)
        counts = Counter(each.component for each in found)
        named = some((f"{number} of {component}" for component, number in counts.items()), most=8)
        yield f"norms, biases and the like are kept as they differ: {named} ({size:,} bytes in float32)"


def _factors(found: Decomposition) -> tuple[Tensor, Tensor]:
    """(up, down) in float32; each takes the root of the values, so that neither becomes too small for float16."""
    roots = found.values.sqrt()
    return (found.left * roots).float().contiguous(), (found.right * roots[:, None]).float().contiguous()


def _nothing_left(tuned: Weights, base: Weights, wanted: Sequence[Both]) -> MismatchError:
    said = f"there is nothing to extract: {tuned.reference} and {base.reference} are equal in all {len(wanted)} layers"
    others, _ = left_out(tuned, base)
    if not wanted:
        said = f"there is nothing to extract: no rank is given for any component of {base.reference}"
    elif others:
        said = f"{said} that a LoRA has pairs for; they differ in {', '.join(map(str, others))}"
    return MismatchError(said, hint="name a model that was trained further than the base")


class _Room:
    """A share of the memory, which workers wait for.

    Args:
        size: In bytes; who needs more than that has all of it.
    """

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold so many bytes while the block runs."""
        size = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()
