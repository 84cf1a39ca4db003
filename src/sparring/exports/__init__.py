"""What leaves a run: a policy as a model folder with its card, and all that was said as one file."""
