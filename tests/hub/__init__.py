"""A Hugging Face Hub on loopback, with the object ids of real git, for the unpatched huggingface_hub client.

Speaks what huggingface_hub 2.4 sends when HF_HUB_DISABLE_XET=1: reading, publishing, and going wrong on purpose.
"""
