"""What computes a merge. One file per engine."""

from loramerge.engines.peft import merge_component

__all__ = ["merge_component"]
