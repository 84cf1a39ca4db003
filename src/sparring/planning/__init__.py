"""Estimates of what a run would take: tokens, memory, arithmetic and time."""
