"""Recommenders that serve as one form: scores = (Σ weight · P[item] over the history) @ Qᵀ."""
