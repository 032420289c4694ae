"""What the UNets of Stable Diffusion have in common, and what tells them apart: the three are of one class."""

from loramerge.families.family import Config

UNET = "UNet2DConditionModel"
CROSS_DOWN, DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, UP = "CrossAttnUpBlock2D", "UpBlock2D"
_SIZE_EMBEDDING = "text_time"


def draws_from_clip(config: Config) -> bool:
    """Stable Diffusion 1 and 2: the UNet reads what CLIP makes of the text, and nothing besides.

    DeepFloyd IF and Kolors have UNets of the same class that read other text encoders.
    """
    return not config.get("addition_embed_type") and not config.get("encoder_hid_dim")


def draws_from_clip_and_size(config: Config) -> bool:
    """Stable Diffusion XL: the picture's size goes in as well."""
    return config.get("addition_embed_type") == _SIZE_EMBEDDING and not config.get("encoder_hid_dim")
