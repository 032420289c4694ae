"""The one door to s3fs: buckets, their objects, and what goes wrong with them in words."""
