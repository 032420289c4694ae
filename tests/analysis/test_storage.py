"""float32 of LoRAs that have fewer bits."""

from types import SimpleNamespace

import pytest
import torch

from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.storage import storage
from loramerge.formats import KohyaOutput
from loramerge.outputs.inputs import InputsOutput


def recipe(*dtypes):
    kohya = [
        KohyaOutput(kind="adapter", format="kohya", name=f"k{place}", dtype=each) for place, each in enumerate(dtypes)
    ]
    return SimpleNamespace(outputs=[*kohya, InputsOutput(kind="inputs")])


def lora(*dtypes):
    names = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
    pairs = {
        f"m{place}": LowRank(torch.ones(4, 10, dtype=names[each]), torch.ones(20, 4, dtype=names[each]), 1.0)
        for place, each in enumerate(dtypes)
    }
    return Adapter({"unet": pairs})


def test_float16_that_becomes_float32_takes_twice_as_much():
    merged = lora("float32", "float32")
    assert storage(recipe("float32", "float16", "float32"), merged, [lora("float16", "float16")]) == {
        "outputs": ["k0", "k2"],
        "dtype": "float16",
        "size": 2 * 4 * 30 * 4,
        "size_in_dtype": 2 * 4 * 30 * 2,
    }


@pytest.mark.parametrize(
    ("dtypes", "loras", "dtype"),
    [
        (["float32"], [["bfloat16"], ["bfloat16"]], "bfloat16"),
        (["float32"], [["bfloat16"], ["float16"]], "float16"),
        (["float32"], [["float32"]], None),
        (["float32"], [["float16"], ["float32"]], None),
        (["float16"], [["float16"]], None),
    ],
)
def test_it_is_said_of_float32_from_fewer_bits_alone(dtypes, loras, dtype):
    found = storage(recipe(*dtypes), lora("float32"), [lora(*each) for each in loras])
    assert (found and found["dtype"]) == dtype
