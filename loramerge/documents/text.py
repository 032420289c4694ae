"""The text of a YAML file, or of standard input; what can't be one is a problem with a place."""

import sys
from pathlib import Path

from loramerge.documents.problems import Origin, Problem, RecipeProblemsError
from loramerge.files.reading import beginning_of

MAX_BYTES = 256 * 1024
_MOST = MAX_BYTES + 1


def read_text(path: Path | str, *, what: str) -> str:
    """Read a file as UTF-8.

    Args:
        path: The file; `-` reads standard input.
        what: What messages call it, such as `recipe`.

    Raises:
        RecipeProblemsError: It is missing, unreadable, no UTF-8, or larger than `MAX_BYTES`.
    """
    whole = Origin(0, 0, name_of(path))
    try:
        pipes = what == "recipe"  # that is named by who runs it; a lock lies beside it
        content = sys.stdin.buffer.read(_MOST) if path == "-" else beginning_of(Path(path), _MOST, pipes=pipes)
        if len(content) > MAX_BYTES:
            raise RecipeProblemsError([Problem(whole, (), f"larger than {MAX_BYTES // 1024} KiB; a {what} is smaller")])
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text (byte {error.start + 1}); save it as UTF-8"
        raise RecipeProblemsError([Problem(whole, (), message)]) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeProblemsError([Problem(whole, (), f"can't read the {what}: {reason}")]) from error


def name_of(path: Path | str) -> str:
    """What messages call a file."""
    return "<stdin>" if path == "-" else str(path)
