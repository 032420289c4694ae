"""Tensors that have a factor of each of a layer's experts: PEFT's pairs for a parameter with three axes.

PEFT (tuners/lora/layer.py, `ParamWrapper.get_delta_weight`) has the experts one below the other in `lora_A`, and in
`lora_B` side by side, one column of each after the other.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from loramerge.tensor_files.lazy import StoredTensor

_RECENT = 4
"""Tensors that are kept: both factors of the two parameters that a layer of experts has."""


class Recent:
    """The tensors that were read last: neighbouring experts lie in one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Stacked, Tensor] = OrderedDict()

    def of(self, stacked: Stacked) -> Tensor:
        """All shares, experts×rows×columns, in the number format of the file. Any thread may ask."""
        with self._lock:
            if stacked not in self._kept:
                self._kept[stacked] = stacked.read()
                while len(self._kept) > _RECENT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(stacked)
            return self._kept[stacked]


@dataclass(frozen=True)
class Stacked:
    """A tensor in a file with a factor of each expert.

    Attributes:
        tensor: All of it, with two axes.
        experts: How many there are.
        side_by_side: They are columns: one of each expert, then another of each. Else they are runs of rows.
        is_turned: Each is the transpose of what is meant.
    """

    tensor: StoredTensor
    experts: int
    side_by_side: bool
    is_turned: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Of each factor."""
        rows, columns = self.tensor.shape
        found = (rows, columns // self.experts) if self.side_by_side else (rows // self.experts, columns)
        return found[::-1] if self.is_turned else found

    def read(self) -> Tensor:
        """All factors, experts×rows×columns."""
        whole = self.tensor.read()
        if self.side_by_side:
            each = whole.reshape(len(whole), -1, self.experts).permute(2, 0, 1)
        else:
            each = whole.reshape(self.experts, -1, whole.shape[1])
        return (each.transpose(1, 2) if self.is_turned else each).contiguous()


@dataclass(frozen=True)
class ExpertFactor:
    """One expert's factor.

    Attributes:
        stacked: Has it.
        expert: Its number.
        shape: Of the factor.
        key: Of the tensor that has it.
        recent: Reads it.
        spans: Of its rows, those that are meant; all of them where there are none.
    """

    stacked: Stacked
    expert: int
    shape: tuple[int, ...]
    key: str
    recent: Recent = field(compare=False)
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def dtype(self) -> str:
        """Number format as a safetensors header spells it."""
        return self.stacked.tensor.dtype

    @property
    def number_formats(self) -> frozenset[str]:
        """That of the tensor, such as `float16`."""
        return self.stacked.tensor.number_formats

    def read(self) -> Tensor:
        """The factor in its own number format, on the CPU."""
        import torch

        whole = self.recent.of(self.stacked)[self.expert]
        rows = torch.cat([whole[start:stop] for start, stop in self.spans]) if self.spans else whole
        return rows.reshape(self.shape)

    def load(self) -> Tensor:
        """The factor in float32, on the CPU: numbers of its own, for what was read stays."""
        import torch

        return self.read().to(torch.float32, copy=True)

    def reshaped(self, shape: tuple[int, ...]) -> ExpertFactor:
        """The same numbers in another shape."""
        return replace(self, shape=shape)

    def rows(self, spans: Sequence[tuple[int, int]]) -> ExpertFactor:
        """Some of its rows, in the order given.

        Args:
            spans: First row and the one behind the last, of each run of rows. Nobody asks for rows of rows.
        """
        assert not self.spans  # noqa: S101  rows are chosen once, where a layer is read
        count = sum(stop - start for start, stop in spans)
        return replace(self, shape=(count, *self.shape[1:]), spans=tuple(spans))
