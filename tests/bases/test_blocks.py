import pytest
import tiny
from canonical import base_of

from loramerge.bases.blocks import OTHER, block_of, in_order, kind_of
from loramerge.bases.published import architecture


@pytest.mark.parametrize(
    ("component", "module", "block", "kind"),
    [
        ("unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "unet.down_blocks.1", "self-attention"),
        ("unet", "up_blocks.0.attentions.2.transformer_blocks.9.attn2.to_out.0", "unet.up_blocks.0", "cross-attention"),
        ("unet", "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj", "unet.mid_block", "feed-forward"),
        ("unet", "mid_block.attentions.0.proj_in", "unet.mid_block", "projections"),
        ("unet", "down_blocks.2.resnets.0.time_emb_proj", "unet.down_blocks.2", "resnets"),
        ("unet", "up_blocks.1.upsamplers.0.conv", "unet.up_blocks.1", "samplers"),
        ("unet", "time_embedding.linear_1", "unet.time_embedding", OTHER),
        ("unet", "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", "unet.down_blocks.1", "self-attention"),
        ("unet", "input_blocks_4_0_in_layers_2", "unet.input_blocks.4", "resnets"),
        ("text_encoder", "text_model.encoder.layers.11.mlp.fc1", "text_encoder.layers.11", "feed-forward"),
        ("text_encoder_2", "text_model.encoder.layers.3.self_attn.k_proj", "text_encoder_2.layers.3", "self-attention"),
        ("text_encoder_2", "text_projection", "text_encoder_2.text_projection", OTHER),
        ("unknown", "model.layers.11.self_attn.q_proj", "unknown.model.layers.11", "self-attention"),
        ("unknown", "lora_unet_double_blocks_7_img_attn_qkv", "unknown.lora_unet_double_blocks.7", "attention"),
        (
            "transformer",
            "transformer_blocks.3.ff_context.net.0.proj",
            "transformer.transformer_blocks.3",
            "feed-forward",
        ),
        ("transformer", "transformer_blocks.3.norm1_context.linear", "transformer.transformer_blocks.3", "modulation"),
        ("transformer", "time_embed.emb.timestep_embedder.linear_1", "transformer.time_embed", OTHER),
        (
            "transformer",
            "av_cross_attn_video_a2v_gate.linear",
            "transformer.av_cross_attn_video_a2v_gate",
            "modulation",
        ),
        ("model", "model.layers.31.mlp.gate_proj", "model.model.layers.31", "feed-forward"),
        (
            "text_encoder_3",
            "encoder.block.2.layer.0.SelfAttention.q",
            "text_encoder_3.encoder.block.2",
            "self-attention",
        ),
        ("unknown", "transformer.x_embedder", "unknown.transformer.x_embedder", OTHER),
    ],
)
def test_where_a_module_lies(component, module, block, kind):
    assert block_of(component, module) == block
    assert kind_of(module) == kind


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_layer_within_a_block_has_a_kind(family):
    for base in (base_of(family), architecture(family)):
        for component, part in base.components.items():
            for module in part.modules:
                if any(each in module for each in ("blocks.", "mid_block.", "encoder.layers.")):
                    assert kind_of(module) != OTHER, (component, module)


def test_the_order_of_blocks():
    blocks = ["unet.up_blocks.0", "text_encoder.layers.10", "unet.mid_block", "text_encoder.layers.2"]
    assert sorted(blocks, key=in_order) == [blocks[2], blocks[0], blocks[3], blocks[1]]


@pytest.mark.parametrize("name", ["conv1", "x²", "a.²", f"a.{'9' * 5000}", "", "a.", ".1", "1"])
def test_any_name_has_a_place_in_the_order(name):
    blocks = [block_of(component, name) for component in ("unknown", "unet", "text_encoder")]
    assert [block.partition(".")[0] for block in sorted(blocks, key=in_order)] == ["unet", "text_encoder", "unknown"]
