"""Files that can run code when they are opened; none of them is."""

from pathlib import PurePosixPath

from loramerge.errors import SourceError

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""How they end."""
_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def conversion(name: str) -> str:
    """What to do instead of reading a pickle.

    Args:
        name: The file's.
    """
    old = PurePosixPath(name).name
    new = PurePosixPath(old).with_suffix(".safetensors").name
    call = f"save_file(torch.load('{old}', map_location='cpu', weights_only=True), '{new}')"
    return (
        "look for a safetensors file of it, or convert it in a Python with torch, which runs none of its code: "
        f"import torch; from safetensors.torch import save_file; {call}"
    )


def refuse_pickle(start: bytes, shown: str) -> None:
    """Go on only if a file is none, by how it begins. Ask only of what can't be a safetensors file.

    The length of a sound header can begin with the bytes of a pickle: 640 is 80 02.

    Args:
        start: How the file begins.
        shown: What errors call it.

    Raises:
        SourceError: It is a pickle.
    """
    if start.startswith(_STARTS):
        raise SourceError(
            f"{shown} holds a pickle, whatever its name says: a pickle can run code when it is opened",
            hint=conversion(shown),
        )
