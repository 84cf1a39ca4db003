"""The loop of self-play: its configuration, checks, stages, and early stop."""
