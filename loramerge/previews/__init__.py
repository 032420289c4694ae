"""Pictures by which people judge a merge: the same prompts and noise, drawn by the base and by what is made of it."""
