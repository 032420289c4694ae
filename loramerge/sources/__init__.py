"""Where bases and LoRAs come from. One file per kind; `SOURCES` lists them in the order in which they are asked."""

from loramerge.sources.source import Located, Source

__all__ = ["Located", "Source"]
