"""How much of each concept a picture shows: a number from 0 to 1, computed from its pixels alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from train.scenes import HATCHING, PAPER, SHAPES, SIZE, SUBJECT, WHITE, Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    Values = NDArray[np.float64]

# From here on a picture shows the concept: halfway between drawings that have it and drawings that do not.
SHOWS = {"ink": 0.15, "glow": 0.6, "star": 0.46, "paper": 0.5}
_FRAME = 3  # pixels: the outermost are ground
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
_PITCHES = (0.8, 1.25)  # of the hatching's frequency: what counts as detail of its fineness
_ANGLE = np.pi / 7  # off the hatching's direction
_SMOOTH = 2.0  # pixels: flattens hatching, keeps shapes
_LEAST = 0.02  # contrast under which a picture is plain
_MARGIN = 4.0  # how much the score of the star rises with how much better it fits than any other shape


def measure(picture: Image.Image | Values) -> dict[str, float]:
    """Score of each concept, by the name of its LoRA.

    Args:
        picture: RGB, SIZE × SIZE pixels; an array holds numbers from 0 to 1.
    """
    pixels = picture if isinstance(picture, np.ndarray) else np.asarray(picture.convert("RGB")) / 255
    return {name: score(pixels.astype(np.float64)) for name, score in CONCEPTS.items()}


def shows(name: str, score: float) -> bool:
    """Whether a picture with this score shows the concept."""
    return score >= SHOWS[name]


def glow(pixels: Values) -> float:
    """How dark the ground is: 1 is black, 0 is white.

    Args:
        pixels: SIZE × SIZE × 3, from 0 to 1; so for the others.
    """
    return float(1 - _ground(pixels) @ _LUMINANCE)


def paper(pixels: Values) -> float:
    """How far the ground is on the way from white to the colour of paper, off which it loses as much."""
    white, paper = np.array(WHITE) / 255, np.array(PAPER) / 255
    return float(np.clip(1 - np.linalg.norm(_ground(pixels) - paper) / np.linalg.norm(white - paper), 0, 1))


def ink(pixels: Values) -> float:
    """Of the energy of detail as fine as the hatching: the share in its direction, less that across it.

    The edges of a shape have about as much of one as of the other.
    """
    contrast = _contrast(pixels)
    if contrast.max() < _LEAST:
        return 0.0
    energy = np.abs(np.fft.fft2(contrast - contrast.mean())) ** 2
    down, right = _frequencies()
    frequency = np.hypot(down, right) * HATCHING / np.sqrt(2)
    fine = (frequency > _PITCHES[0]) & (frequency < _PITCHES[1])
    angle = np.arctan2(down, right) % np.pi
    along, across = (np.abs(angle - centre) < _ANGLE for centre in (np.pi / 4, 3 * np.pi / 4))
    difference = energy[fine & along].sum() - energy[fine & across].sum()
    return float(max(0.0, difference / energy[fine].sum()))


def star(pixels: Values) -> float:
    """How much better a star fits the shape than any shape that the base knows; at most how well it fits."""
    contrast = _contrast(pixels)
    if contrast.max() < _LEAST:
        return 0.0
    names, spectra = _templates()
    smooth = np.fft.fft2(contrast - contrast.mean()) * _blur()
    smooth /= np.linalg.norm(smooth)
    fits = np.fft.ifft2(spectra.conj() * smooth).real.max(axis=(1, 2)) * SIZE**2
    best = {name: float(fits[names == name].max()) for name in (*SHAPES, SUBJECT)}
    star = best.pop(SUBJECT)
    return float(np.clip(min(star, 0.5 + _MARGIN * (star - max(best.values()))), 0, 1))


CONCEPTS: dict[str, Callable[[Values], float]] = {"ink": ink, "glow": glow, "star": star, "paper": paper}


def _ground(pixels: Values) -> Values:
    """The colour that most of the picture's frame has."""
    frame = np.ones((SIZE, SIZE), dtype=bool)
    frame[_FRAME:-_FRAME, _FRAME:-_FRAME] = False
    return np.median(pixels[frame], axis=0)


def _contrast(pixels: Values) -> Values:
    """How far each pixel is from the ground's colour."""
    return np.linalg.norm(pixels - _ground(pixels), axis=2)


def _frequencies() -> tuple[Values, Values]:
    """(down, right) of a spectrum, in cycles per pixel."""
    down, right = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    return down, right


@functools.cache
def _blur() -> Values:
    """A Gaussian's spectrum."""
    down, right = _frequencies()
    return np.exp(-2 * (np.pi * _SMOOTH) ** 2 * (down**2 + right**2))


@functools.cache
def _templates() -> tuple[NDArray[np.str_], NDArray[np.complex128]]:
    """Every shape in every size: its name, and its smoothed spectrum of norm 1."""
    names, spectra = [], []
    for shape in (*SHAPES, SUBJECT):
        for larger in range(-8, 9):
            mask = Scene(shape, "red", off=(0.0, 0.0, float(larger))).mask().resize((SIZE, SIZE))
            pixels = np.asarray(mask, dtype=np.float64)
            spectrum = np.fft.fft2(pixels - pixels.mean()) * _blur()
            names.append(shape)
            spectra.append(spectrum / np.linalg.norm(spectrum))
    return np.array(names), np.stack(spectra)
