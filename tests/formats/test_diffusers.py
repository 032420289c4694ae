"""What diffusers' format has no place for, and who reads it."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from loramerge.adapter import Adapter, LowRank
from loramerge.bases.published import architecture
from loramerge.errors import MismatchError
from loramerge.families import FAMILIES
from loramerge.formats import DiffusersOutput
from loramerge.stages.check_outputs import check_outputs

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
    assert caught.value.hint.endswith(f"give that part the weight 0: `{{{lost}: 0}}`")


@pytest.mark.parametrize("base", ["sd15", "sdxl", "flux", "sd3", "wan/14b", "ltx2", "anima"])
def test_what_it_loads_has_a_place(base):
    found = architecture(base)
    loaded = [name for name in found.components if name in {*found.denoisers, *found.family.loadable}]
    assert OUTPUT.check(found, loaded) is None


@pytest.mark.parametrize(("family", "readers"), [("sdxl", "diffusers"), ("flux", "diffusers and ComfyUI")])
def test_comfyui_is_named_where_it_knows_these_names(family, readers):
    assert OUTPUT.readers_of(FAMILIES[family]) == readers


@pytest.mark.parametrize(("weight", "refused"), [(1.0, True), ({"text_encoder_2": 0.0}, False)])
def test_a_part_that_weighs_nothing_is_no_obstacle(weight, refused):
    base = architecture("flux")
    pairs = {}
    for component in ("transformer", "text_encoder_2"):
        module, shape = next(iter(base.components[component].modules.items()))
        pairs[component] = {module: LowRank(torch.ones(1, *shape[1:]), torch.ones(shape[0], 1), 1.0)}
    lora = SimpleNamespace(name="ink", adapter=Adapter(pairs), weight=weight)
    recipe = SimpleNamespace(outputs=[OUTPUT], merge=SimpleNamespace(rules=[]))
    with pytest.raises(MismatchError) if refused else nullcontext():
        check_outputs(recipe, SimpleNamespace(loras=[lora], base=base))
