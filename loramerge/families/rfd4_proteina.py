"""RFD4-Proteina: a denoiser of proteins, in diffusers' names (models/transformers/transformer_rfd4_proteina.py)."""

from loramerge.families.family import Card, Family

RFD4_PROTEINA = Family(
    name="rfd4_proteina",
    title="RFD4-Proteina",
    classes=("RFD4ProteinaTransformer",),
    kinds={"self-attention": r"\.mhba\.", "feed-forward": r"\.transition\."},
    card=Card("other", ("proteina",)),
)
