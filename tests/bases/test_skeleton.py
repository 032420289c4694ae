import pytest
import tiny
import torch
from canonical import base_of
from torch import nn

from loramerge.adapter import LowRank
from loramerge.bases.base import Component
from loramerge.bases.published import architecture
from loramerge.engines import ENGINES
from loramerge.families import FAMILIES
from loramerge.merging.module import Part
from loramerge.methods import Cat, Svd

pytestmark = pytest.mark.slow


def layers_of(model):
    return [
        (name, type(layer), tuple(layer.weight.shape))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    ]


@pytest.mark.parametrize(("family", "component"), [("sd15", "unet"), ("sdxl", "unet"), ("sdxl", "text_encoder_2")])
def test_a_skeleton_has_the_layers_of_the_model_in_their_order(family, component):
    found = base_of(family).components[component].skeleton()
    assert layers_of(found) == layers_of(getattr(tiny.shared(family), component))
    assert {parameter.device.type for parameter in found.parameters()} == {"meta"}


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.published])
def test_some_of_the_layers_come_in_the_order_of_all(family):
    """PEFT draws random numbers in the order of the modules, and is given those alone that a LoRA touches."""
    for component in architecture(family).components.values():
        some = {*list(component.modules)[::3], *list(component.modules)[::7]}
        names = [name for name, *_ in layers_of(component.skeleton())]
        wanted = {component.live[module] for module in some}
        assert [name for name, *_ in layers_of(component.skeleton(some))] == [name for name in names if name in wanted]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", [Cat(combination_type="cat"), Svd(combination_type="svd", svd_rank=4)])
@pytest.mark.parametrize("kernel", [(3,), (3, 3), (1, 2, 2)])
def test_convolutions_of_any_number_of_axes_merge(engine, method, kernel):
    shapes = {"patch": (8, 4, *kernel), "blocks.0.q": (8, 8)}
    component = Component("transformer", {}, shapes, {name: name for name in shapes}, {})
    generator = torch.Generator().manual_seed(0)

    def lora(name, weight):
        pairs = {
            module: LowRank(
                torch.randn(2, *shape[1:], generator=generator),
                torch.randn(shape[0], 2, *(1 for _ in shape[2:]), generator=generator),
                0.5,
            )
            for module, shape in shapes.items()
        }
        return Part(name, pairs, dict.fromkeys(shapes, weight))

    parts = [lora("a", 0.7), lora("b", -0.4)]
    merged = ENGINES[engine](
        component, parts, method, seed=0, device="cpu", finish=lambda _module, _inputs, merged: merged.pair
    )
    for module in shapes:
        want = sum(part.weights[module] * part.modules[module].delta() for part in parts)
        assert (merged[module].delta() - want).norm() <= 1e-6 * want.norm()
