"""What commands print under `--json`: a model of each document, from which its schema comes."""
