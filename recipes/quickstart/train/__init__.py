"""Trains the base and the LoRAs of recipes/quickstart.yaml: see `__main__.py`."""
