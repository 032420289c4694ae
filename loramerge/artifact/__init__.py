"""The artifact's folder: the names of its files, what may be replaced, and its in-toto statement."""
