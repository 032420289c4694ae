"""The one door to huggingface_hub: listings, repositories, retries, and its errors in words."""
