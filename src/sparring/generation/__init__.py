"""Who samples the responses."""
