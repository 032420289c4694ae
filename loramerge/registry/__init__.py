"""The one door to oras: registries that speak the OCI distribution specification, and their errors in words."""
