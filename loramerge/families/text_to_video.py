"""ModelScope's text-to-video: LoRAs have diffusers' names (models/unets/unet_3d_condition.py)."""

from loramerge.families.family import Card, Family

TEXT_TO_VIDEO = Family(
    name="text_to_video",
    title="ModelScope text-to-video",
    classes=("UNet3DConditionModel",),
    denoisers=("unet",),
    card=Card("text-to-video", ("modelscope",), loads="nothing"),
)
