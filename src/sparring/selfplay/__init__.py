"""The loop of self-play: configuration, checks, stages, and what decides when it ends."""
