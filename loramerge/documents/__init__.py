"""Strict YAML with positions, and its mistakes in words. Recipe and lock both use it."""
