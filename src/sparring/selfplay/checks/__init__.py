"""The checks of a run before a model is loaded, one module for each subject."""
