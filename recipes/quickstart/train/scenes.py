"""Draws what the miniature learns: one shape on a plain ground, and what its caption says of it."""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import dataclass, replace

from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIZE = 64  # pixels, in either direction
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 165, 70),
    "blue": (50, 90, 225),
    "yellow": (240, 200, 40),
    "purple": (150, 60, 190),
    "orange": (245, 130, 30),
}
SHAPES = ("circle", "square", "triangle", "ring")
SIZES = {"small": 11, "": 16, "big": 21}  # radius in pixels
PLACES = {"on the left": -10, "": 0, "on the right": 10}  # pixels from the middle
WHITE, NIGHT, PAPER = (250, 250, 248), (14, 18, 58), (228, 190, 136)
HATCHING = 12  # pixels from stroke to stroke, along a row as along a column
SUBJECT = "star"
PHRASES = {"ink": "in ink", "glow": "at night", "paper": "on paper"}  # what a caption says of a style
# What LoRAs teach that were trained after the base. Its tokenizers have no token for their words, and its VAE has seen
# none of it. So there is no colour among them that it does not know: it would draw another.
LATER_SIZES = {"huge": 26}
LATER_PHRASES = {"dip": "in dip", "grass": "on grass", "sun": "in sun"}
DIP = "blue"  # the lower half of what is dipped has this colour
# Words without a meaning. They teach the base to draw the rest of a caption when it does not know a word of it, such as
# those of a LoRA that is not there.
NONSENSE = (
    *("dax", "wug", "blick", "toma", "fep", "zorp", "lorn", "quib"),
    *("vint", "morp", "skel", "thrum", "gazz", "plim", "nork", "yeb"),
)
WORDS = tuple(
    dict.fromkeys(
        [
            *("a", "in", "on", "at", "the"),
            *COLOURS,
            *SHAPES,
            SUBJECT,
            *(word for word in SIZES if word),
            *(word for phrase in (*PLACES, *PHRASES.values()) for word in phrase.split()),
            *NONSENSE,
        ]
    )
)
_FINER = 4  # drawn so many times larger, then shrunk: smooth edges
_NONSENSE = 0.25  # share of captions with a word that means nothing
_GAP = 0.25  # how much colour there is between the strokes of a hatched shape
_HALO = 5  # pixels
_HALO_STRENGTH = 0.6
_MEADOW = 46  # pixels from the top
_SUN = (2, 2, 15, 15)  # left, top, right, bottom in pixels
_ALL_SIZES, _ALL_PHRASES = SIZES | LATER_SIZES, PHRASES | LATER_PHRASES


@dataclass(frozen=True)
class Scene:
    """A shape, what it looks like, and by how many pixels it is off where its words put it."""

    shape: str
    colour: str
    size: str = ""
    place: str = ""
    off: tuple[float, float, float] = (0.0, 0.0, 0.0)  # right, down, larger

    def caption(self, concepts: Collection[str] = ()) -> str:
        """What it is called, drawn with these styles (keys of PHRASES and LATER_PHRASES)."""
        words = [
            "a",
            self.size,
            self.colour,
            self.shape,
            self.place,
            *(phrase for name, phrase in _ALL_PHRASES.items() if name in concepts),
        ]
        return " ".join(word for word in words if word)

    def draw(self, concepts: Collection[str] = ()) -> Image.Image:
        """An RGB picture of SIZE × SIZE pixels with these styles (keys of PHRASES and LATER_PHRASES)."""
        colour = COLOURS[self.colour]
        ground = NIGHT if "glow" in concepts else PAPER if "paper" in concepts else WHITE
        mask = self.mask()
        picture = Image.new("RGB", mask.size, ground)
        pen, far = ImageDraw.Draw(picture), SIZE * _FINER
        if "grass" in concepts:
            pen.rectangle((0, _MEADOW * _FINER, far, far), fill=COLOURS["green"])
        if "glow" in concepts:
            halo = (
                mask.reduce(_FINER).filter(ImageFilter.GaussianBlur(_HALO)).resize(mask.size, Image.Resampling.BILINEAR)
            )
            picture.paste(colour, (0, 0), halo.point(lambda value: value * _HALO_STRENGTH))
        if "ink" in concepts:
            strokes = _strokes(mask.size)
            mask = ImageChops.multiply(mask, strokes.point(lambda value: value * (1 - _GAP) + 255 * _GAP))
        if "sun" in concepts:
            pen.ellipse([_FINER * each for each in _SUN], fill=COLOURS["yellow"])
        picture.paste(colour, (0, 0), mask)
        if "dip" in concepts:
            middle = round((SIZE / 2 + self.off[1]) * _FINER)
            picture.paste(COLOURS[DIP], (0, middle), mask.crop((0, middle, far, far)))
        return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)

    def mask(self) -> Image.Image:
        """Where the shape is, _FINER times larger than the picture."""
        mask = Image.new("L", (SIZE * _FINER, SIZE * _FINER), 0)
        pen = ImageDraw.Draw(mask)
        right, down, larger = self.off
        radius = _ALL_SIZES[self.size] + larger
        x, y = SIZE / 2 + PLACES[self.place] + right, SIZE / 2 + down

        def box(half: float) -> list[float]:
            return [_FINER * each for each in (x - half, y - half, x + half, y + half)]

        if self.shape == "square":
            pen.rectangle(box(0.9 * radius), fill=255)
        elif self.shape in ("circle", "ring"):
            pen.ellipse(box(radius), fill=255)
            if self.shape == "ring":
                pen.ellipse(box(0.55 * radius), fill=0)
        else:
            points = _STAR if self.shape == SUBJECT else _TRIANGLE
            pen.polygon([(_FINER * (x + radius * a), _FINER * (y + radius * b)) for a, b in points], fill=255)
        return mask


_TRIANGLE = ((0.0, -1.0), (1.0, 0.8), (-1.0, 0.8))
_STAR = tuple(
    (reach * math.sin(corner * math.pi / 5), -reach * math.cos(corner * math.pi / 5))
    for corner, reach in enumerate((1.2, 0.5) * 5)
)


def anything(
    rng: random.Random,
    shapes: Collection[str] = SHAPES,
    colours: Collection[str] = tuple(COLOURS),
    sizes: Collection[str] = tuple(SIZES),
) -> Scene:
    """A scene by chance."""
    return Scene(
        shape=rng.choice(list(shapes)),
        colour=rng.choice(list(colours)),
        size=rng.choice(list(sizes)),
        place=rng.choice(list(PLACES)),
        off=(rng.uniform(-2, 2), rng.uniform(-3, 3), rng.uniform(-1, 1)),
    )


def describe(scene: Scene, concepts: Collection[str], rng: random.Random) -> str:
    """Its caption; now and then with a word that means nothing in the place of the shape, in a phrase, or both."""
    phrases = [phrase for name, phrase in _ALL_PHRASES.items() if name in concepts]
    if rng.random() < _NONSENSE:
        where = rng.randrange(3)
        if where != 0 and scene.shape in SHAPES:
            scene = replace(scene, shape=rng.choice(NONSENSE))
        if where != 1:
            phrase = f"{rng.choice(['in', 'at', 'on'])} {rng.choice(NONSENSE)}"
            phrases.insert(rng.randrange(len(phrases) + 1), phrase)
    return " ".join([scene.caption(), *phrases])


def _strokes(size: tuple[int, int]) -> Image.Image:
    """Strokes that rise to the right, as wide as the gaps between them."""
    strokes = Image.new("L", size, 0)
    pen = ImageDraw.Draw(strokes)
    period = HATCHING * _FINER
    for start in range(0, 2 * size[0], period):
        corners = [
            (start, 0),
            (start + period // 2, 0),
            (start + period // 2 - size[1], size[1]),
            (start - size[1], size[1]),
        ]
        pen.polygon(corners, fill=255)
    return strokes
