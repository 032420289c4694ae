"""Where an artifact comes from: its definition, its provenance, its licence, and who signed it."""
