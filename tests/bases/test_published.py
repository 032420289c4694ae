"""The families' built-in architectures against the published ones: names and shapes, no weights."""

import json

import shared_data

from loramerge import load_base
from loramerge.bases.base import from_configs
from loramerge.bases.published import architecture


def test_the_built_in_architectures_are_the_published_ones():
    for folder, family in (("stable-diffusion-v1-5", "sd15"), ("stable-diffusion-xl-base-1.0", "sdxl")):
        published, built_in = load_base(str(shared_data.model(folder))), architecture(family)
        assert published.family.name == built_in.family.name == family
        for name, component in published.components.items():
            assert component.modules == built_in.components[name].modules


def test_the_built_in_unet_of_sd2_is_the_published_one():
    config = json.loads((shared_data.model("stable-diffusion-2-1-base") / "unet" / "config.json").read_text())
    published = from_configs("published", {"unet": config})
    assert published.family.name == "sd2"
    assert published.components["unet"].modules == architecture("sd2").components["unet"].modules
