"""What can be checked of a run before a model is loaded, a subject a module."""
