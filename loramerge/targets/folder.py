"""A folder on this machine, such as `~/ComfyUI/models/loras`."""

from typing import Literal

from pydantic import Field

from loramerge.fields import Listed, Name, StrictModel


class FolderTarget(StrictModel):
    """Copies the outputs into a folder."""

    kind: Literal["folder"] = Field(description="A folder on this machine.")
    path: str = Field(min_length=1, description="Where; relative paths start at the recipe's own folder.")
    outputs: Listed[Name] | None = Field(None, description="Folders of the outputs to publish; all if absent.")
