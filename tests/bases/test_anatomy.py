import pytest

from loramerge.bases.anatomy import MOST, Anatomy, label
from loramerge.bases.published import architecture


def anatomy(name, *components):
    return architecture(name).anatomy(components or ("transformer",))


def parts(name, *components):
    base = architecture(name)
    found = base.anatomy(components)
    # Backwards, so that nothing has its place from the way it came.
    modules = [(component, module) for component in components for module in base.components[component].modules][::-1]
    return found.in_order(found.part_of(*place) for place in modules)


def numbered(name, *numbers):
    return [f"{name}.{number}" for number in numbers]


def test_a_transformer_s_blocks_stand_in_its_order_and_many_share_rows():
    rows = ["0-3", "4-7", "8-11", "12-15", "16-19", "20-23", "24-27", "28-31", "32-35", "36-37"]
    assert parts("flux", "transformer") == [
        "transformer.time_text_embed",
        "transformer.context_embedder",
        "transformer.x_embedder",
        *numbered("transformer.transformer_blocks", *range(19)),
        *numbered("transformer.single_transformer_blocks", *rows),
        "transformer.norm_out",
        "transformer.proj_out",
    ]


def test_a_unet_s_blocks_stand_as_data_goes_through_them():
    assert parts("sdxl", "unet", "text_encoder") == [
        "unet.conv_in",
        "unet.time_embedding",
        "unet.add_embedding",
        *numbered("unet.down_blocks", 0, 1, 2),
        "unet.mid_block",
        *numbered("unet.up_blocks", 0, 1, 2),
        "unet.conv_out",
        "text_encoder",
    ]


@pytest.mark.parametrize("count", [MOST, MOST + 1, 2 * MOST])
def test_every_block_is_in_one_row(count):
    blocks = tuple(numbered("transformer.blocks", *range(count)))
    found = Anatomy(blocks)
    rows = [found.row_of(block) for block in blocks]
    if count <= MOST:
        assert rows == list(blocks)
        return
    for row in dict.fromkeys(rows):
        first, _, last = row.rpartition(".")[2].partition("-")
        named = numbered("transformer.blocks", *range(int(first), int(last or first) + 1))
        assert named == [block for block, each in zip(blocks, rows, strict=True) if each == row]
    assert found.in_order(rows[::-1]) == list(dict.fromkeys(rows))


def test_two_denoisers_do_not_share_rows():
    found = anatomy("wan/t2v-a14b", "transformer", "transformer_2")
    assert found.part_of("transformer_2", "blocks.6.attn1.to_q") == "transformer_2.blocks.4-7"
    assert found.in_order(["transformer_2.blocks.0-3", "transformer.blocks.36-39"])[0] == "transformer.blocks.36-39"


def test_what_no_base_has_comes_last_sorted_by_name():
    found = Anatomy(("transformer.b.0", "transformer.a.0")).with_others(
        ["unknown.x.10", "unknown.x.9", "transformer.a.0"]
    )
    assert found.in_order(found.blocks) == ["transformer.b.0", "transformer.a.0", "unknown.x.9", "unknown.x.10"]
    assert Anatomy().in_order(["unet.up_blocks.0", "text_encoder", "unet.mid_block"])[-1] == "text_encoder"


def test_kinds_of_layers_come_from_the_family_first():
    assert anatomy("krea2").kind_of("transformer_blocks.0.attn.to_q") == "self-attention"
    assert Anatomy().kind_of("transformer_blocks.0.attn.to_q") == "attention"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("unet.down_blocks.0", "down_blocks.0"),
        ("transformer.blocks.4-7", "blocks.4-7"),
        ("transformer_2.blocks.4-7", "transformer_2.blocks.4-7"),
        ("model.model.layers.0", "model.layers.0"),
        ("text_encoder", "text_encoder"),
    ],
)
def test_labels(part, expected):
    assert label(part) == expected
