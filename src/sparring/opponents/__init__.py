"""Who plays against the policy."""
