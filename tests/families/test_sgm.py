from loramerge.bases.published import architecture
from loramerge.families.sgm import sgm_name


def test_every_unet_module_has_its_own_name_in_sgm():
    unet = architecture("sdxl").components["unet"]
    names = [sgm_name(module, unet.config) for module in unet.modules]
    assert None not in names
    assert len(set(names)) == len(names) == 794
