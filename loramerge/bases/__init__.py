"""The base without its weights: its components, their names and shapes, blocks, and the files that hold it."""
