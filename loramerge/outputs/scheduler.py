"""The scheduler of a fused pipeline, where it is not the base's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from loramerge.bases.scheduler import scheduler_config
from loramerge.fields import StrictModel, in_words

if TYPE_CHECKING:
    from collections.abc import Mapping


class Scheduler(StrictModel):
    """The scheduler that the pipeline is written with."""

    class_name: str = Field(
        alias="class",
        pattern=r"^[A-Z][A-Za-z0-9]*Scheduler$",
        description="Class of diffusers, such as LCMScheduler.",
        json_schema_extra=in_words("the name of a scheduler of diffusers, such as LCMScheduler"),
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Its settings, where they are neither the base's nor the class's own."
    )

    def config(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Its scheduler_config.json.

        Args:
            before: The base's.

        Raises:
            MismatchError: diffusers has no such scheduler, or that has no such setting.
        """
        return scheduler_config(before, self.class_name, self.settings)
