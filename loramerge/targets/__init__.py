"""Where artifacts are published. One file per kind; `TARGETS` lists them, and `AnyTarget` is any of them."""

from typing import Annotated

from pydantic import Field

from loramerge.targets.folder import FolderTarget
from loramerge.targets.hub import HubTarget
from loramerge.targets.target import Target

__all__ = ["TARGETS", "AnyTarget", "FolderTarget", "HubTarget", "Target"]

TARGETS: tuple[type[Target], ...] = (FolderTarget, HubTarget)
AnyTarget = Annotated[FolderTarget | HubTarget, Field(discriminator="kind")]
