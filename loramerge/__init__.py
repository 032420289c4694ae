"""Several LoRAs become one: exact, reproducible, published."""
