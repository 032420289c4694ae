"""What a pipeline of diffusers starts from, and what it makes: the name of its class says it."""

from __future__ import annotations

import re
from typing import Literal

Start = Literal["text", "image", "more"]
_MORE = re.compile(
    r"Adapter|Animate(?!Diff)|ChronoEdit|ConsisID|Control|Fill|InContext|Inpaint|Lucy|Redux|Transfer|Upscale|Variation"
    r"|VideoTo|VisualCloze"
)
_IMAGE = re.compile(r"Depth2Img|Edit|Framepack|I2I|I2V|ImageTo|Img2Img|Kontext|Layered|PIA|Pix2Pix|Refiner")
_MAKES_IMAGE = re.compile(r"I2I|T2I|TextToImage")


def start_of(pipeline: str) -> Start:
    """What it makes something of: a prompt alone, a prompt and an `image`, or more than these.

    Args:
        pipeline: Its class; empty where nothing is known of it.
    """
    return "more" if _MORE.search(pipeline) else "image" if _IMAGE.search(pipeline) else "text"


def task_of(pipeline: str, usual: str) -> str:
    """The Hub's task of a pipeline.

    Args:
        pipeline: Its class; empty where nothing is known of it.
        usual: The task of its family.
    """
    start, to, makes = usual.partition("-to-")
    if not to:
        return usual
    if start == "text" and start_of(pipeline) != "text":
        start = "video" if re.search(r"VideoTo|Lucy", pipeline) else "image"
    return f"{start}-to-{'image' if _MAKES_IMAGE.search(pipeline) else makes}"
