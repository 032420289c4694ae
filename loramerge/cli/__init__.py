"""The command line: parse, call, print. One file per command; `commands.NAMES` lists them."""

import gc
import os
import sys
import warnings
from pathlib import Path


def main() -> None:
    """Run `loramerge` in a process of its own, and end the process with the command's exit code."""
    _prepare(sys.argv[1:])
    from loramerge.cli.commands import commands
    from loramerge.files.interrupts import noting

    noting()
    try:
        commands.main(prog_name="loramerge")
    finally:
        gc.freeze()  # all of it goes with the process: Python would look through a million objects for cycles first


def _prepare(arguments: list[str]) -> None:
    """Set up what has to be set before a library is imported that looks at it; the user's own settings win."""
    gc.set_threshold(50_000, 20, 20)  # libraries make a million objects that stay: to look through them takes a sixth
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plug-ins takes 15 ms
    if "--json" in arguments or not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not {"-v", "--verbose"} & set(arguments):
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  open until the end
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a character shows its code instead
            stream.reconfigure(errors="backslashreplace")
