"""One LoRA under several names."""

import torch

from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.twins import pairs_of, twins


def lora(seed, *, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    pairs = {name: LowRank(torch.randn(2, 5, generator=generator), torch.ones(4, 2), scale) for name in ("m", "n")}
    return Adapter({"unet": pairs})


def test_the_same_bytes_are_the_same_file():
    (found,) = twins({"a": (lora(0), ["1" * 64]), "b": (lora(5), ["2" * 64]), "c": (lora(0), ["1" * 64])})
    assert str(found) == "a and c are the same file"
    assert pairs_of([found]) == {("a", "c"): "the same file"}


def test_the_same_tensors_in_another_file_are_the_same_lora():
    (found,) = twins({name: (lora(0), [name]) for name in "abc"})
    assert str(found) == "a, b, c are the same LoRA in different files"
    assert len(pairs_of([found])) == 3


def test_one_file_for_two_denoisers_is_no_lora_that_is_given_twice():
    parts = [Adapter({name: lora(0).components["unet"]}) for name in ("transformer", "transformer_2")]
    assert twins({str(number): (each, ["1"]) for number, each in enumerate(parts)}) == []


def test_another_scale_or_tensor_is_another_lora():
    assert twins({"a": (lora(0), ["1"]), "b": (lora(0, scale=0.5), ["2"]), "c": (lora(1), ["3"])}) == []


def test_what_it_means_for_a_merge():
    (found,) = twins({name: (lora(0), ["1"]) for name in "abcdefgh"})
    assert found.merged(dict.fromkeys("abcdefgh", 0.1)) == (
        "a, b, c, d, e, f and 2 more are the same file, which takes part 8 times, with weight 0.8 in all; give it once"
    )
    assert found.merged({**dict.fromkeys("abcdefgh", 0.1), "c": None}).endswith(
        "give it once, with the sums of the weights"
    )


def test_twins_that_weigh_nothing_together_are_to_be_left_out():
    (found,) = twins({name: (lora(0), ["1"]) for name in "ab"})
    assert found.merged({"a": 0.3, "b": -0.3}).endswith("with weight 0 in all; leave it out")
