"""Everything that decides how the miniature comes out: sizes, steps, rates and seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from train.scenes import COLOURS, DIP, SHAPES, SIZES, SUBJECT


@dataclass(frozen=True)
class Stage:
    """How long and how fast something is trained."""

    steps: int
    batch: int
    rate: float  # of AdamW, which rises to it and falls to nothing
    scenes: int  # so many are drawn, once
    seed: int
    # How times of the noise are drawn: evenly to the power of this. Below 1 there is more noise: there alone must the
    # caption decide, for later on the picture itself tells a dark ground from a bright one.
    lean: float = 1.0
    cosine: bool = False  # the rate falls from the first step to the last, not in the last 40 % alone

    def rate_at(self, step: int) -> float:
        """The rate of a step; the first is 1."""
        if self.cosine:
            fall = 0.51 + 0.49 * math.cos(math.pi * step / self.steps)
            return self.rate * min(1.0, 50 * step / self.steps) * fall
        return self.rate * min(1.0, step / 100, (self.steps - step + 1) / (0.4 * self.steps))


@dataclass(frozen=True)
class Lora:
    """What a LoRA consists of, and what it is shown."""

    name: str
    format: str  # how its file names things: kohya or diffusers
    rank: int
    alpha: float
    layers: tuple[str, ...]  # of the UNet: how their names end
    text_layers: tuple[str, ...]  # of both text encoders
    training: Stage
    styles: tuple[str, ...] = ()  # of its scenes
    shapes: tuple[str, ...] = SHAPES  # of its scenes
    colours: tuple[str, ...] = tuple(COLOURS)  # of its scenes
    sizes: tuple[str, ...] = tuple(SIZES)  # of its scenes
    ordinary: float = 0.4  # share of scenes without what it is to learn, so that only its word calls for it


ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
CONVOLUTIONS = ("conv1", "conv2")


@dataclass(frozen=True)
class Settings:
    """The committed weights were made with these."""

    text_widths: tuple[int, int] = (32, 64)
    tokens: int = 32
    vae_widths: tuple[int, ...] = (12, 24, 32)
    vae_groups: int = 2  # 6 channels a group: with one, a VAE forgets what colour a thing was
    unet_widths: tuple[int, ...] = (32, 64, 96)
    unet_groups: int = 8
    unet_layers: int = 1  # resnets in each block down; one more in each block up
    seed: int = 0
    vae: Stage = Stage(steps=2200, batch=16, rate=3e-3, scenes=4096, seed=1, cosine=True)
    unet: Stage = Stage(steps=2400, batch=32, rate=1e-3, scenes=6144, seed=2)
    loras: tuple[Lora, ...] = field(
        default=(
            Lora(
                name="ink",
                format="kohya",
                rank=4,
                alpha=2.0,
                layers=(*ATTENTION, *CONVOLUTIONS),
                text_layers=("q_proj", "k_proj", "v_proj", "out_proj"),
                training=Stage(steps=1300, batch=16, rate=3e-3, scenes=2048, seed=3, lean=0.7),
                styles=("ink",),
            ),
            Lora(
                name="glow",
                format="diffusers",
                rank=8,
                alpha=8.0,
                layers=(*ATTENTION, *FEED_FORWARD, "time_emb_proj"),
                text_layers=(),
                training=Stage(steps=1400, batch=16, rate=2e-3, scenes=2048, seed=4, lean=0.7),
                styles=("glow",),
            ),
            Lora(
                name="star",
                format="diffusers",
                rank=16,
                alpha=8.0,
                layers=(*ATTENTION, *FEED_FORWARD, *CONVOLUTIONS),
                text_layers=(),
                training=Stage(steps=1000, batch=16, rate=2e-3, scenes=2048, seed=5),
                shapes=(SUBJECT,),
            ),
            Lora(
                name="paper",
                format="kohya",
                rank=6,
                alpha=6.0,
                layers=(*ATTENTION, *FEED_FORWARD, *CONVOLUTIONS, "time_emb_proj"),
                text_layers=(),
                training=Stage(steps=1000, batch=16, rate=3e-3, scenes=2048, seed=6, lean=0.4),
                styles=("paper",),
            ),
            Lora(
                name="dip",
                format="diffusers",
                rank=2,
                alpha=2.0,
                layers=(*ATTENTION, *FEED_FORWARD, *CONVOLUTIONS),
                text_layers=(),
                training=Stage(steps=600, batch=16, rate=4e-3, scenes=1024, seed=7),
                styles=("dip",),
                colours=tuple(colour for colour in COLOURS if colour != DIP),
            ),
            Lora(
                name="huge",
                format="kohya",
                rank=12,
                alpha=6.0,
                layers=ATTENTION,
                text_layers=(),
                training=Stage(steps=500, batch=16, rate=3e-3, scenes=1024, seed=8, lean=0.7),
                sizes=("huge",),
            ),
            Lora(
                name="grass",
                format="kohya",
                rank=3,
                alpha=3.0,
                layers=(*ATTENTION, *CONVOLUTIONS),
                text_layers=(),
                training=Stage(steps=600, batch=16, rate=3e-3, scenes=1024, seed=9, lean=0.7),
                styles=("grass",),
            ),
            Lora(
                name="sun",
                format="diffusers",
                rank=5,
                alpha=5.0,
                layers=(*ATTENTION, *FEED_FORWARD),
                text_layers=(),
                training=Stage(steps=450, batch=16, rate=3e-3, scenes=1024, seed=10, lean=0.7),
                styles=("sun",),
            ),
        )
    )
