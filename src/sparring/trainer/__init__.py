"""The trainer: a transformers Trainer for any objective, for loops of our own and of others."""
