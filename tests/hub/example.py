"""A repository to read, and the tokens of two users."""

import hashlib

WEIGHTS = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
FILES = {
    "ikea.safetensors": WEIGHTS,
    "unet/config.json": b'{"layers": 2}\n',
    "unet/diffusion.safetensors": b"unet weights",
    "vae/config.json": b"{}",
}
REPO = "ostris/ikea-lora"
OWNER, STRANGER = "hf_loopback_tester", "hf_loopback_stranger"
