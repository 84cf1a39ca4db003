"""Losses on log ratios."""
