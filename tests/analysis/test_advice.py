import torch

from loramerge.adapter import Adapter, LowRank
from loramerge.analysis.advice import advice
from loramerge.analysis.overlap import overlaps


def pair(seed):
    generator = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(4, 40, generator=generator), torch.randn(60, 4, generator=generator), 1.0)


def said(one, other, same=None):
    adapters = {name: (Adapter({"unet": lora}), lambda *_: 1.0) for name, lora in (("ink", one), ("glow", other))}
    (found,) = overlaps(adapters, same=same)
    return advice(found)


def test_those_that_leave_each_other_alone_are_added():
    lora = {"mid_block.attentions.0.proj_in": pair(0)}
    assert said(lora, {"mid_block.attentions.0.proj_in": pair(1)}).startswith(
        "take `cat`: it is the weighted sum of ink and glow to the digit"
    )
    assert "no module in common" in said(lora, {"up_blocks.0.attentions.0.proj_in": pair(1)})


def test_where_they_undo_each_other_weights_by_block_are_named():
    one = pair(0)
    against = LowRank(one.down, -one.up, one.scale)
    sentence = said(
        {"mid_block.attentions.0.proj_in": one, "up_blocks.0.attentions.0.proj_in": pair(1)},
        {"mid_block.attentions.0.proj_in": against, "up_blocks.0.attentions.0.proj_in": pair(2)},
    )
    assert sentence.startswith("take `cat` with weights by block: ink and glow undo each other in mid_block, ")


def test_one_lora_under_two_names_is_not_merged_with_itself():
    lora = {"mid_block.attentions.0.proj_in": pair(0)}
    sentence = said(lora, lora, same={("ink", "glow"): "the same file"})
    assert sentence == "take one of ink and glow, at a higher weight: they are the same file"
