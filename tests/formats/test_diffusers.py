"""What diffusers' format has no place for, and who reads it."""

import pytest

from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.families import FAMILIES
from loramerge.formats import DiffusersOutput

OUTPUT = DiffusersOutput(kind="adapter", format="diffusers")


@pytest.mark.parametrize(
    ("base", "lost", "loaded"),
    [
        ("flux", "text_encoder_2", "transformer and text_encoder"),
        ("sd3", "text_encoder_3", "transformer, text_encoder and text_encoder_2"),
        ("qwen_image", "text_encoder", "transformer"),
        ("hidream", "text_encoder_4", "transformer"),
    ],
)
def test_a_part_that_diffusers_loads_no_lora_for_is_refused(base, lost, loaded):
    with pytest.raises(MismatchError) as caught:
        OUTPUT.check(architecture(base), ["transformer", lost])
    title = architecture(base).family.title
    assert caught.value.message == (
        f"`format: diffusers` has no place for {lost} of {title}: diffusers loads LoRAs for {loaded} alone"
    )
    assert caught.value.hint.endswith(f"weigh it 0, as `weight: {{{lost}: 0}}`")


@pytest.mark.parametrize("base", ["sd15", "sdxl", "flux", "sd3", "wan/14b", "ltx2", "anima"])
def test_what_it_loads_has_a_place(base):
    found = architecture(base)
    OUTPUT.check(found, [name for name in found.components if name in {*found.denoisers, *found.family.loadable}])


@pytest.mark.parametrize(("family", "readers"), [("sdxl", "diffusers"), ("flux", "diffusers and ComfyUI")])
def test_comfyui_is_named_where_it_knows_these_names(family, readers):
    assert OUTPUT.readers_of(FAMILIES[family]) == readers
