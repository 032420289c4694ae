"""An S3 storage on loopback: moto's server in a process of its own, behind a door that goes wrong on purpose."""
