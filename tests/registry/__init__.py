"""A registry on loopback that speaks the OCI distribution specification 1.1."""
