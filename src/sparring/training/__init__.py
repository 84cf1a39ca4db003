"""The trainer and the iteration loop."""
