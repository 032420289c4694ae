"""Pictures as files: complete or not there, with their settings in them, the same bytes for the same picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loramerge.errors import LoramergeError
from loramerge.files.reading import content_of, open_file
from loramerge.files.writing import writing
from loramerge.messages import some

if TYPE_CHECKING:
    from PIL import Image

SOFTWARE = "loramerge"
_QUALITY = 90
_END = b"IEND\xaeB`\x82"  # https://www.w3.org/TR/png-3/#11IEND
_LARGEST = (4096, 32768)  # pixels of the sheet for the card


def save(picture: Image.Image, path: Path, settings: Mapping[str, str]) -> None:
    """Write a PNG.

    Args:
        picture: What to write.
        path: Where to; its folder exists.
        settings: Become the PNG's text, in their order.

    Raises:
        LoramergeError: It can't be written.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in {"software": SOFTWARE, **settings}.items():
        info.add_text(key, value)
    _put(picture, path, format="PNG", pnginfo=info)


def save_for_card(picture: Image.Image, path: Path) -> None:
    """Write a JPEG, shrunk where it is too large for a page.

    Raises:
        LoramergeError: It can't be written.
    """
    small = picture.copy()
    small.thumbnail(_LARGEST)
    _put(small, path, format="JPEG", quality=_QUALITY, subsampling=0, comment=SOFTWARE.encode())


def is_finished(path: Path, settings: Mapping[str, str]) -> bool:
    """Whether a file is a whole PNG with exactly these settings."""
    from PIL import Image

    try:
        with open_file(path) as file, Image.open(file) as picture:
            picture.load()  # it passes over an end that is missing
            return content_of(path).endswith(_END) and dict(getattr(picture, "text", {})) == {
                "software": SOFTWARE,
                **settings,
            }
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def parts_of(paths: Iterable[Path]) -> list[Path]:
    """Parts of pictures that are there: of a command that is at work, or of one that was killed."""
    return [part for part in map(_partial, paths) if part.is_file()]


def refuse_others(paths: Iterable[Path], hint: str = "choose another folder with --out, or move them away") -> None:
    """Go on only if nothing but pictures of ours would be replaced.

    Args:
        paths: Where pictures are to be.
        hint: What to do where one is somebody else's.

    Raises:
        LoramergeError: One is.
    """
    others = [path for path in paths if os.path.lexists(path) and not _is_ours(path)]
    if others:
        raise LoramergeError(
            f"{others[0].parent} holds files that loramerge did not draw: {some(path.name for path in others)}",
            hint=hint,
        )


def _is_ours(path: Path) -> bool:
    from PIL import Image

    try:
        with open_file(path) as file, Image.open(file) as picture:
            return SOFTWARE in (picture.info.get("software"), picture.info.get("comment", b"").decode("latin-1"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _put(picture: Image.Image, path: Path, **options: Any) -> None:
    """Whoever interrupts this leaves the old file or the new one."""
    part = _partial(path)
    with writing(path):
        try:
            picture.save(part, **options)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
