"""Data sets: formats, validation, chat templates, built-in tasks."""
