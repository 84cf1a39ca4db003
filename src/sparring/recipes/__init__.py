"""Vetted configurations."""
