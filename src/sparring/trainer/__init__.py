"""The trainer: a transformers Trainer for any objective, usable without the loop of sparring."""
