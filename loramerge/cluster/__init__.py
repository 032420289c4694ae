"""Calls on the machines of a Ray cluster: the one door to Ray."""
