"""Files whose numbers are packed: what they hold is known by the names of what lies beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from loramerge.errors import SourceError

GGUF = ".gguf"
_KINDS = {
    "scaled float8 (ComfyUI's `scaled_fp8`)": re.compile(
        r"(^|\.)(scaled_fp8|comfy_quant|scale_weight|weight_scale(_2|_inv)?|input_scale)$"
    ),
    "numbers of 4 bits by nunchaku": re.compile(r"(^|\.)(wscales|wcscales|wtscale|smooth_orig|smooth_factor(_orig)?)$"),
    "numbers of 4 or 8 bits by bitsandbytes": re.compile(
        r"(^|\.)(absmax|quant_map|nested_absmax|SCB|quant_state\.bitsandbytes__\w+)$"
    ),
    "numbers of a few bits by GPTQ or AWQ": re.compile(r"(^|\.)(qweight|qzeros)$"),
}
_HINT = (
    "choose the file that it was made from, in float32, float16, bfloat16 or float8 without scales, and quantise what "
    "comes out; where no output needs the base's weights, name its family alone: `base: {family: flux}`"
)


def refuse_quantised(keys: Iterable[str], shown: str) -> None:
    """Go on only if a file's tensors are the numbers themselves.

    Args:
        keys: Names of its tensors.
        shown: What errors call it.

    Raises:
        SourceError: They are packed, or have scales beside them.
    """
    for key in keys:
        for kind, pattern in _KINDS.items():
            if pattern.search(key):
                raise SourceError(
                    f"{shown} holds {kind}, to which no LoRA can be added: {key} is among its tensors", hint=_HINT
                )


def refuse_gguf(name: str, shown: str) -> None:
    """Go on only if a file is no GGUF file, by its name.

    Args:
        name: The file's.
        shown: What errors call it.

    Raises:
        SourceError: It is one.
    """
    if name.lower().endswith(GGUF):
        raise SourceError(f"{shown} is a GGUF file, whose numbers are packed: no LoRA can be added to them", hint=_HINT)
