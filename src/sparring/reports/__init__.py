"""Reads run directories, and never a model: a table for the terminal, a page for the browser."""
