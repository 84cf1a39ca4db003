"""The configuration of a run: its schema, its form in YAML, and the messages on its errors."""
