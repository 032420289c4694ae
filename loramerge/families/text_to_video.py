"""ModelScope's text-to-video: LoRAs have diffusers' names (models/unets/unet_3d_condition.py)."""

from loramerge.families.family import Card, Family, Published

_MODEL = "UNet3DConditionModel"

TEXT_TO_VIDEO = Family(
    name="text_to_video",
    title="ModelScope text-to-video",
    classes=(_MODEL,),
    denoisers=("unet",),
    published={"ms-1.7b": Published("ali-vilab/text-to-video-ms-1.7b", {"unet": {"_class_name": _MODEL}})},
    card=Card("text-to-video", ("modelscope",)),
)
