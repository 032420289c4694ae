"""Folders and files that are complete or not there, what their content is known by, one run at a time."""
