"""Files that can run code when they are opened; none of them is."""

from pathlib import PurePosixPath

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""How they end."""


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
