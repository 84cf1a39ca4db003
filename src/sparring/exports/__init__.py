"""Exports of a run: a policy as a model folder with its card, and all responses as one file."""
