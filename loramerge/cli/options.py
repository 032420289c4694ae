"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from loramerge.files.lengths import too_long
from loramerge.files.neighbours import beside
from loramerge.merging.device import DEVICES
from loramerge.messages import is_address

Command = TypeVar("Command", bound=Callable[..., Any])


def examples(*lines: str) -> str:
    """The end of a command's help."""
    # The backspace is Click's mark for lines that stay as they are.
    return "\n  ".join(("\b\nExamples:", *lines))


def as_json(command: Command) -> Command:
    """`--json`: the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document; errors, too.")(command)


def verbose(command: Command) -> Command:
    """`-v`: the argument `verbose`."""
    return click.option("-v", "--verbose", is_flag=True, help="Say more; show where a defect lies.")(command)


def base(command: Command) -> Command:
    """`--base`: the argument `base`, for `GivenBase.parse`."""
    return click.option(
        "--base",
        metavar="REF",
        type=click.Path(),
        help="A folder, hf://owner/name or a family such as sdxl or flux/dev; told by the LoRAs if absent.",
    )(command)


def verify_inputs(command: Command) -> Command:
    """`--verify-inputs`: the argument `verify_inputs`."""
    return click.option(
        "--verify-inputs",
        is_flag=True,
        help="Hash every file anew, also a large one that did not change since an earlier run hashed it.",
    )(command)


def overrides(command: Command) -> Command:
    """`--set`: the argument `overrides`."""
    return click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Change a value of the recipe, such as loras.0.weight=0.5. May be given several times.",
    )(command)


class PlaceType(click.Path):
    """A place on this machine.

    Click takes an empty text, which would then mean the default without a word. It takes an address, `-` and the name
    of a LoRA's file as well, and folders of these names would be made.

    Args:
        what: What is wanted there.
        allow_dash: The command says itself what `-` means.
    """

    def __init__(self, what: str = "a folder", *, allow_dash: bool = False) -> None:
        super().__init__(allow_dash=allow_dash)
        self._what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            click.BadParameter: It names no place on this machine, or something else than what is wanted.
        """
        wanted = f"name {self._what}, or leave the option out"
        if value == "":
            self.fail(f"it is empty; {wanted}", param, ctx)
        if reason := too_long(os.fspath(value)):
            self.fail(f"{reason}; choose a shorter one", param, ctx)
        if is_address(value):
            said = f"{value} is an address, and this is a place on this machine"
            self.fail(f"{said}; a recipe's `publish:` brings files to the Hub", param, ctx)
        if value == "-" and not self.allow_dash:
            self.fail(f"this can't be printed; {wanted}", param, ctx)
        if self._what == "a folder" and value.endswith(".safetensors"):
            said = f"{value} would be a folder, and is called like a LoRA's file"
            self.fail(f"{said}; `loramerge merge … -o NAME.safetensors` writes a single file", param, ctx)
        return super().convert(value, param, ctx)


class ThereType(click.Path):
    """A path of something that is there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            click.BadParameter: Nothing is there; the message says what lies beside it.
        """
        try:
            there = os.path.exists(value)  # noqa: PTH110  which takes any text
        except ValueError:
            there = False
        if not there:
            self.fail("; ".join(filter(None, (f"there is no {value}", beside(Path(value))))), param, ctx)
        return super().convert(value, param, ctx)


def device(command: Command) -> Command:
    """`--device`: the argument `device`."""
    return click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="auto",
        show_default=True,
        help="Where to compute.",
    )(command)


def on(what: str) -> Callable[[Command], Command]:
    """`--on`: the argument `on`.

    Args:
        what: What is done there.
    """
    return click.option(
        "--on",
        type=click.Choice(["ray"]),
        help=f"Where {what}: on the Ray cluster of RAY_ADDRESS, or one of this machine. In this process if absent.",
    )
