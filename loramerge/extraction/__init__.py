"""LoRAs made of the difference of two models: what lies where in their files, and what of it a LoRA holds."""
