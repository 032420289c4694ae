"""The text of a YAML file, or of standard input; what can't be one is a problem with a place."""

import sys
from pathlib import Path

from loramerge.documents.mistaken import RECIPES, is_lora, lora_commands, said_of_folder
from loramerge.documents.problems import Origin, Problem, RecipeProblemsError
from loramerge.files.neighbours import beside
from loramerge.files.reading import beginning_of
from loramerge.messages import is_address

MAX_BYTES = 256 * 1024
_MOST = MAX_BYTES + 1


def read_text(path: Path | str, *, what: str) -> str:
    """Read a file as UTF-8.

    Args:
        path: The file; `-` reads standard input.
        what: What messages call it, such as `recipe`.

    Raises:
        RecipeProblemsError: It is missing, unreadable, no UTF-8, or larger than `MAX_BYTES`; or something else that is
            easily given in its place, and for which there is another command.
    """

    def refusal(message: str, hint: str = "") -> RecipeProblemsError:
        return RecipeProblemsError([Problem(Origin(0, 0, name_of(path)), (), message, hint)])

    try:
        pipes = what == "recipe"  # that is named by who runs it; a lock lies beside it
        content = sys.stdin.buffer.read(_MOST) if path == "-" else beginning_of(Path(path), _MOST, pipes=pipes)
        if is_lora(content) or name_of(path).endswith(".safetensors"):
            raise refusal(f"it is a LoRA (safetensors), and no {what}", lora_commands(name_of(path)))
        if len(content) > MAX_BYTES:
            raise refusal(f"larger than {MAX_BYTES // 1024} KiB; a {what} is smaller")
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refusal(f"not UTF-8 text (byte {error.start + 1}); save it as UTF-8") from error
    except IsADirectoryError as error:
        raise refusal(f"it is a folder, and no {what}", said_of_folder(Path(path))) from error
    except FileNotFoundError as error:
        far = "it is an address: fetch the file, and name it here" if is_address(str(path)) else ""
        raise refusal(f"can't read the {what}: there is no such file", far or beside(Path(path), RECIPES)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise refusal(f"can't read the {what}: {reason}") from error


def name_of(path: Path | str) -> str:
    """What messages call a file."""
    return "<stdin>" if path == "-" else str(path)
