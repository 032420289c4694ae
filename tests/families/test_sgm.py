from sgm import sgm_name

from loramerge.bases.published import architecture


def test_every_unet_module_has_its_own_name_in_sgm():
    for family, count in (("sd15", 282), ("sdxl", 794)):
        unet = architecture(family).components["unet"]
        config = type("Config", (), {"layers_per_block": 2, **unet.config})
        names = {module: original.name for module, original in unet.layout.by_canonical.items()}
        assert names == {module: sgm_name(module, config) for module in unet.modules}
        assert len(set(names.values())) == len(names) == count
