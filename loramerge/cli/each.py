"""One thing after the other: what is done is told, whatever happens to those that follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from loramerge.cli import console
from loramerge.cli.boundary import Failure, failure
from loramerge.errors import ExitCode

Item = TypeVar("Item")
Facts = dict[str, Any]


def each_of(
    items: Iterable[Item],
    do: Callable[[Item], Facts],
    failed: Callable[[Item, Failure], Facts],
    *,
    as_json: bool,
    verbose: bool,
) -> tuple[list[Facts], list[ExitCode]]:
    """Do something with every item, also after one that failed; an interruption ends it.

    Args:
        items: What the command line names.
        do: What to do with one; what came of it, as plain data.
        failed: The same for one that failed.
        as_json: Nothing is said but in the document.
        verbose: Show where a defect lies.

    Returns:
        What came of each, and the exit codes of those that failed.
    """
    done: list[Facts] = []
    codes: list[ExitCode] = []
    for item in items:
        try:
            done.append(do(item))
        except BrokenPipeError:  # noqa: PERF203  nobody reads what is said
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  whatever it is, what was done is told
            found = failure(error, verbose=verbose)
            if not as_json:
                console.error(found.message, found.hint)
            done.append(failed(item, found))
            codes.append(found.code)
            if found.code == ExitCode.INTERRUPTED:
                break
    return done, codes
