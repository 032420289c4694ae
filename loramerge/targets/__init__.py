"""Where artifacts are published. One file per kind; `TARGETS` lists them, and `AnyTarget` is any of them."""

from typing import Annotated

from pydantic import Field

from loramerge.targets.folder import FolderTarget
from loramerge.targets.hub import HubTarget
from loramerge.targets.oci import OciTarget
from loramerge.targets.s3 import S3Target
from loramerge.targets.target import Target

__all__ = ["TARGETS", "AnyTarget", "FolderTarget", "HubTarget", "OciTarget", "S3Target", "Target"]

TARGETS: tuple[type[Target], ...] = (
    FolderTarget,
    HubTarget,
    OciTarget,
    S3Target,
)
AnyTarget = Annotated[
    FolderTarget  # one line each
    | HubTarget
    | OciTarget
    | S3Target,
    Field(discriminator="kind"),
]
