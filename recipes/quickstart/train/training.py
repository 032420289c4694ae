"""Trains the base: the VAE on pictures, then the UNet with both text encoders on what the VAE makes of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from train.scenes import PHRASES, SHAPES, SIZE, SUBJECT, anything, describe

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor, nn

    from train.settings import Stage

_NO_CAPTION = 0.1  # share of captions left out, for guidance
_STYLED = 0.4  # share of what the VAE sees that has a style, for each style
_REPORT, _KEEP = 100, 1000  # steps


@dataclass(frozen=True)
class Latents:
    """Pictures as the VAE encodes them, with their captions."""

    latents: Tensor  # pictures × 4 × 16 × 16, scaled
    captions: Sequence[str]


class Average:
    """A moving average of weights over the steps: steadier than the last step's own."""

    def __init__(self, weights: Sequence[nn.Parameter], most: float = 0.999) -> None:
        self._weights, self._most, self._steps = weights, most, 0
        self._means = [weight.detach().clone() for weight in weights]

    def update(self) -> None:
        """Take in the weights as they are now."""
        import torch

        self._steps += 1
        share = 1 - min(self._most, self._steps / (10 + self._steps))
        torch._foreach_lerp_(self._means, [weight.detach() for weight in self._weights], share)

    def swap(self) -> None:
        """Exchange weights and averages; once more to go on training."""
        for weight, mean in zip(self._weights, self._means, strict=True):
            held = weight.detach().clone()
            weight.data.copy_(mean)
            mean.copy_(held)


def pixels(pictures: Iterable[Image.Image]) -> Tensor:
    """Pictures × 3 × SIZE × SIZE, from -1 to 1."""
    import numpy as np
    import torch

    stacked = np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2) / 127.5 - 1


def train_vae(pipeline: Any, stage: Stage, device: str) -> None:
    """Train the VAE on scenes with every concept alone and together; set its scale to what the UNet expects."""
    import torch
    from torch.nn import functional

    rng = random.Random(stage.seed)
    torch.manual_seed(stage.seed)
    vae = pipeline.vae.to(device).train().requires_grad_(True)  # noqa: FBT003
    pictures = pixels(_any_picture(rng) for _ in range(stage.scenes)).to(device)

    def loss() -> tuple[Tensor, Tensor]:
        batch = pictures[torch.randint(0, len(pictures), (stage.batch,)).to(device)]
        found = vae.encode(batch).latent_dist
        decoded = vae.decode(found.sample()).sample
        error = functional.mse_loss(decoded, batch)
        return error + 0.3 * functional.l1_loss(decoded, batch) + 1e-6 * found.kl().mean() / SIZE, error

    minimise(loss, list(vae.parameters()), stage, "vae")
    vae.eval().requires_grad_(False)  # noqa: FBT003
    with torch.no_grad():
        deviation = torch.cat([vae.encode(some).latent_dist.mode() for some in pictures[:512].split(64)]).std()
    vae.register_to_config(scaling_factor=round(1 / deviation.item(), 4))


def train_unet(pipeline: Any, stage: Stage, device: str, keep: Callable[[], None]) -> None:
    """Train the UNet and both text encoders on ordinary scenes; `keep` is called now and then to save them."""
    import torch

    rng = random.Random(stage.seed)
    torch.manual_seed(stage.seed)
    models = [pipeline.to(device).unet, pipeline.text_encoder, pipeline.text_encoder_2]
    scenes = [anything(rng) for _ in range(stage.scenes)]
    captions = [describe(scene, (), rng) for scene in scenes]
    data = encoded(pipeline, [scene.draw() for scene in scenes], captions)
    for model in models:
        model.train().requires_grad_(True)  # noqa: FBT003
    denoise(pipeline, data, [weight for model in models for weight in model.parameters()], stage, "unet", keep)
    for model in models:
        model.eval().requires_grad_(False)  # noqa: FBT003


def encoded(pipeline: Any, pictures: Sequence[Image.Image], captions: Sequence[str]) -> Latents:
    """What the VAE makes of pictures."""
    import torch

    scale, vae = pipeline.vae.config.scaling_factor, pipeline.vae
    found = []
    with torch.no_grad():
        for start in range(0, len(pictures), 64):
            batch = pixels(pictures[start : start + 64]).to(vae.device)
            found.append(vae.encode(batch).latent_dist.mode() * scale)
    return Latents(torch.cat(found), list(captions))


def denoise(
    pipeline: Any,
    data: Latents,
    weights: Sequence[nn.Parameter],
    stage: Stage,
    name: str,
    keep: Callable[[], None] | None = None,
) -> None:
    """Train `weights` to take noise away, given the captions; at the end they are their own moving average."""
    import torch
    from torch.nn import functional

    device = data.latents.device
    tokens = [
        tokenizer(list(data.captions), padding="max_length", truncation=True, return_tensors="pt").input_ids.to(device)
        for tokenizer in (pipeline.tokenizer, pipeline.tokenizer_2)
    ]
    sizes = torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]] * stage.batch, dtype=torch.float32, device=device)
    average = Average(weights)

    def loss() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(0, len(data.captions), (stage.batch,)).to(device)
        times = torch.randint(0, 1000, (stage.batch,))
        times = (999 * (times / 999) ** stage.lean).round().long().to(device)
        clean, noise = data.latents[chosen], torch.randn((stage.batch, *data.latents.shape[1:])).to(device)
        said = (torch.rand(stage.batch) >= _NO_CAPTION).to(device)
        text, pooled = read(pipeline, [each[chosen] for each in tokens])
        found = pipeline.unet(
            pipeline.scheduler.add_noise(clean, noise, times),
            times,
            encoder_hidden_states=text * said[:, None, None],
            added_cond_kwargs={"text_embeds": pooled * said[:, None], "time_ids": sizes},
        ).sample
        error = functional.mse_loss(found, pipeline.scheduler.get_velocity(clean, noise, times))
        return error, error

    def after(step: int) -> None:
        average.update()
        if keep and step % _KEEP == 0:
            average.swap()
            keep()
            average.swap()

    minimise(loss, weights, stage, name, after)
    average.swap()


def read(pipeline: Any, tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """What SDXL's UNet is told of a prompt: the last layers but one of both text encoders, and the pooled text."""
    import torch

    first = pipeline.text_encoder(tokens[0], output_hidden_states=True)
    second = pipeline.text_encoder_2(tokens[1], output_hidden_states=True)
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second[0]


def minimise(
    loss: Callable[[], tuple[Tensor, Tensor]],
    weights: Sequence[nn.Parameter],
    stage: Stage,
    name: str,
    after: Callable[[int], None] = lambda _: None,
) -> None:
    """Train, and say how it goes.

    Args:
        loss: What to minimise, and what to report, of a batch of its own choice.
        weights: What is trained.
        stage: How long and how fast.
        name: For the report.
        after: Called after each step with its number.
    """
    import torch

    optimiser = torch.optim.AdamW(weights, stage.rate, weight_decay=0.0, fused=True)
    mean, begin = None, time.monotonic()
    for step in range(1, stage.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = stage.rate_at(step)
        wrong, error = loss()
        optimiser.zero_grad()
        wrong.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        after(step)
        mean = error.detach() if mean is None else mean.lerp(error.detach(), 0.02)
        if step % _REPORT == 0 or step == stage.steps:
            seconds = time.monotonic() - begin
            print(f"{name}: step {step} of {stage.steps}, error {mean.item():.5f}, {seconds:.0f} s", flush=True)


def _any_picture(rng: random.Random) -> Image.Image:
    styles = [name for name in PHRASES if rng.random() < _STYLED]
    return anything(rng, (*SHAPES, SUBJECT)).draw(styles)
