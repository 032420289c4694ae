"""AnimateDiff: a UNet with motion modules, put together on loading; in diffusers' names (unet_motion_model.py)."""

from loramerge.families.family import Card, Family

ANIMATEDIFF = Family(
    name="animatediff",
    title="AnimateDiff",
    classes=("UNetMotionModel",),
    denoisers=("unet",),
    loadable=("text_encoder",),
    card=Card("text-to-video", ("animatediff",)),
)
