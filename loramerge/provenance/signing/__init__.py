"""OpenSSF model signatures: signing an artifact's folder, and checking who signed it."""
