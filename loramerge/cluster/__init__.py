"""Calls apart from this process: in processes beside it, and on a Ray cluster, to which this is the one door."""
