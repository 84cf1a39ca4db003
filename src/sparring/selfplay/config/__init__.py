"""The configuration of a run: its schema, and how it is read from YAML and written."""
