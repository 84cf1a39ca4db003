"""The only place where token ids become sequence log-probs."""
