"""Where artifacts are published. One file per kind; `TARGETS` lists them, and `Target` is any of them."""

from typing import Annotated

from pydantic import Field

from loramerge.fields import StrictModel
from loramerge.targets.folder import FolderTarget
from loramerge.targets.hub import HubTarget

__all__ = ["TARGETS", "FolderTarget", "HubTarget", "Target"]

TARGETS: tuple[type[StrictModel], ...] = (FolderTarget, HubTarget)
Target = Annotated[FolderTarget | HubTarget, Field(discriminator="kind")]
