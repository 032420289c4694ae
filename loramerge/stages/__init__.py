"""The way of a recipe: resolve → load → combine → fuse → write → publish, a verb a file; `run` calls them in order."""
