"""Another scheduler for a pipeline: a distilled LoRA, such as LCM or Lightning, asks for one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from loramerge.bases.quiet import quiet
from loramerge.errors import MismatchError
from loramerge.messages import any_of

_KEPT = ("_diffusers_version",)


def scheduler_config(before: Mapping[str, Any], class_name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The scheduler_config.json of a class of diffusers, with what it takes over from another one.

    It is what `SomeScheduler.from_config(pipeline.scheduler.config, **settings)` makes of it.

    Args:
        before: The scheduler_config.json that it takes the place of.
        class_name: In diffusers, such as `LCMScheduler`.
        settings: That differ.

    Raises:
        MismatchError: diffusers has no such scheduler, or that has no such setting.
    """
    taken = _settings_of(class_name)
    if unknown := [name for name in settings if name not in taken]:
        near = get_close_matches(unknown[0], taken, n=1)
        raise MismatchError(
            f"scheduler: {class_name} has no setting {any_of(unknown)}",
            hint=f"did you mean {near[0]}?" if near else f"it has {any_of(sorted(taken))}",
        )
    kept = {name: value for name, value in before.items() if name in taken or name in _KEPT}
    return {**kept, **settings, "_class_name": class_name}


def _settings_of(class_name: str) -> list[str]:
    """Names of a scheduler's settings."""
    from inspect import signature

    with quiet():
        import diffusers

        known = [name for name in dir(diffusers) if name.endswith("Scheduler")]
        if class_name not in known:
            near = get_close_matches(class_name, known, n=1)
            raise MismatchError(
                f"scheduler: diffusers {diffusers.__version__} has no {class_name}",
                hint=f"did you mean {near[0]}?" if near else "write a class of diffusers, such as LCMScheduler",
            )
        found = getattr(diffusers, class_name)
    return [name for name in signature(found.__init__).parameters if name != "self"]
