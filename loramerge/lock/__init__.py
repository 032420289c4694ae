"""The lock: what every source of a recipe is, down to the bytes of each file."""

from loramerge.lock.model import Lock, read

__all__ = ["Lock", "read"]
