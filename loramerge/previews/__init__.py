"""Pictures by which people judge a merge: the same prompts and noise, drawn by the base and by what is made of it."""

SHEET = "preview.png"
"""The contact sheet in an artifact's folder of pictures."""
CARD_SHEET = "preview.jpg"
"""The same, small enough for the model card."""
