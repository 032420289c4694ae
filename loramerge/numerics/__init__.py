"""Linear algebra on factors: it knows tensors, and nothing of LoRAs, files or recipes."""
