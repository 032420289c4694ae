"""Tensors in files: read lazily, written deterministically, fused block by block."""
