"""Says which concepts a picture shows: a small network, trained on drawings with and without each of them.

It is trained on what `train/scenes.py` draws, half of it as the miniature's VAE gives it back, and on pictures that are
broken, which show nothing. It has seen no picture of a merge.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from train.scenes import COLOURS, DIP, LATER_PHRASES, LATER_SIZES, PHRASES, SHAPES, SIZES, SUBJECT, anything
from train.training import pixels

CONCEPTS = ("ink", "glow", "star", "paper", "dip", "huge", "grass", "sun")
EXCLUDING = ("glow", "paper")  # a picture has one ground
SHOWS = 0.5  # from this score on a picture shows the concept
_SHARE = 0.35  # of the drawings, for each concept
_BATCH = 64
_BROKEN = 0.1  # share of what is shown
_SEED = 100
_GROWN = 0.05  # share of the size
_MOVED = 0.12  # share of half the picture: 4 pixels


@dataclass(frozen=True)
class Effort:
    """How long the judge is trained, and on how much it is tried."""

    drawings: int = 6000
    steps: int = 1500
    held_out: int = 1000


class Judge(nn.Module):
    """Pictures × 3 × 64 × 64 from -1 to 1 → pictures × concepts, before the sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(48 * 8 * 8, 64),
            nn.ReLU(),
            nn.Linear(64, len(CONCEPTS)),
        )

    def forward(self, pictures):
        return self.layers(pictures)

    @torch.no_grad()
    def scores(self, pictures: np.ndarray) -> np.ndarray:
        """How sure it is of each concept, from 0 to 1: pictures × concepts.

        Args:
            pictures: Pictures × height × width × 3, from 0 to 1.
        """
        self.eval()
        given = torch.from_numpy(np.asarray(pictures, dtype=np.float32)).permute(0, 3, 1, 2) * 2 - 1
        return self(given).sigmoid().numpy()


def drawings(count: int, rng: random.Random):
    """(pictures × 3 × 64 × 64, pictures × concepts of 0 and 1) of scenes with any of the concepts."""
    pictures, labels = [], []
    for _ in range(count):
        has = {name for name in CONCEPTS if rng.random() < _SHARE}
        if has.issuperset(EXCLUDING):
            has.discard(rng.choice(EXCLUDING))
        scene = anything(
            rng,
            (SUBJECT,) if "star" in has else SHAPES,
            [colour for colour in COLOURS if colour != DIP or "dip" not in has],
            tuple(LATER_SIZES) if "huge" in has else tuple(SIZES),
        )
        pictures.append(scene.draw(has & {*PHRASES, *LATER_PHRASES}))
        labels.append([name in has for name in CONCEPTS])
    return pixels(pictures), torch.tensor(labels, dtype=torch.float32)


@torch.no_grad()
def given_back(vae, pictures, noise: float = 0.0):
    """What the VAE makes of pictures, with noise upon what it encodes them as."""
    found = []
    for some in pictures.split(_BATCH):
        latents = vae.encode(some).latent_dist.mode()
        found.append(vae.decode(latents + noise * torch.randn_like(latents)).sample.clamp(-1, 1))
    return torch.cat(found)


@torch.no_grad()
def broken(vae, count: int, spread: float):
    """What the VAE makes of noise: pictures with nothing to be made out."""
    size = (count, vae.config.latent_channels, 8, 8)
    latents = functional.interpolate(torch.randn(size) * spread, scale_factor=2, mode="bilinear")
    latents += spread * 0.5 * torch.randn_like(latents)
    return torch.cat([vae.decode(some).sample.clamp(-1, 1) for some in latents.split(_BATCH)])


def trained(vae, effort: Effort) -> Judge:
    """A judge, the same for the same effort on the same machine."""
    torch.manual_seed(_SEED)
    pictures, labels = drawings(effort.drawings, random.Random(_SEED))
    half = effort.drawings // 2
    pictures[:half] = given_back(vae, pictures[:half], 0.15)
    nothing = broken(vae, max(1, int(effort.drawings * _BROKEN)), float(1 / vae.config.scaling_factor))
    pictures = torch.cat([pictures, nothing])
    labels = torch.cat([labels, torch.zeros(len(nothing), len(CONCEPTS))])
    judge = Judge().train()
    optimiser = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=1e-2)
    falling = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=effort.steps)
    for _ in range(effort.steps):
        chosen = torch.randint(0, len(pictures), (_BATCH,))
        batch = _varied(pictures[chosen])
        loss = functional.binary_cross_entropy_with_logits(judge(batch), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
    return judge.eval()


def accuracy(judge: Judge, pictures, labels) -> dict[str, float]:
    """Share of pictures that are judged rightly, by concept."""
    found = judge.scores(((pictures + 1) / 2).permute(0, 2, 3, 1).numpy()) >= SHOWS
    right = (found == labels.numpy().astype(bool)).mean(0)
    return dict(zip(CONCEPTS, map(float, right), strict=True))


def held_out(judge: Judge, vae, effort: Effort) -> dict[str, dict[str, float]]:
    """Accuracy on drawings that it was not trained on: as they are drawn, and as the VAE gives them back."""
    pictures, labels = drawings(effort.held_out, random.Random(_SEED + 1))
    return {
        "drawn": accuracy(judge, pictures, labels),
        "through the VAE": accuracy(judge, given_back(vae, pictures), labels),
    }


def shown(scores: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Whether each picture shows each of these concepts: pictures × names.

    Args:
        scores: As `Judge.scores` gives them.
        names: Of concepts.
    """
    return scores[:, [CONCEPTS.index(name) for name in names]] >= SHOWS


def _varied(pictures):
    """Moved, larger or smaller, brighter or darker, with more or less contrast and noise: merges draw no clean scenes.

    Hatching always begins in the same corner of a scene, which no picture of the miniature keeps to.
    """
    count = len(pictures)
    grown = 1 + _GROWN * (2 * torch.rand(count) - 1)
    moved = _MOVED * (2 * torch.rand(2, count) - 1)
    none = torch.zeros(count)
    turned = torch.stack([torch.stack([grown, none, moved[0]], 1), torch.stack([none, grown, moved[1]], 1)], 1)
    grid = functional.affine_grid(turned, list(pictures.shape), align_corners=False)
    pictures = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    contrast = 1 + 0.15 * torch.randn(count, 1, 1, 1)
    tint = 0.08 * torch.randn(count, 3, 1, 1)
    noise = 0.15 * torch.rand(count, 1, 1, 1) * torch.randn_like(pictures)
    return (pictures * contrast + tint + noise).clamp(-1, 1)
