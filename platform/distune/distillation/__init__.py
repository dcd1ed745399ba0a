"""Distillation: prototypes (PGM), robust filtering (RDM), the terms and the objective that joins them."""
