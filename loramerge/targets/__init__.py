"""Where artifacts are published. One file per kind; `TARGETS` lists them, and `Target` is any of them."""

from typing import Annotated

from pydantic import Field

from loramerge.fields import StrictModel
from loramerge.targets.folder import FolderTarget

__all__ = ["TARGETS", "FolderTarget", "Target"]

TARGETS: tuple[type[StrictModel], ...] = (FolderTarget,)
Target = Annotated[FolderTarget, Field(discriminator="kind")]
