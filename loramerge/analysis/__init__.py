"""What LoRAs and merges are, in numbers and words. It measures, and changes nothing."""
