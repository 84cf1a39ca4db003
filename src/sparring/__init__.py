"""Self-play fine-tuning of language models."""
