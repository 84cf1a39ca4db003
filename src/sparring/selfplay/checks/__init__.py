"""The checks of a run before a model is loaded, one module for each subject.

`phases_of` makes the checks that need only the settings, `prepare` the others, from the cheapest to the dearest. Checks
that need the loaded model, such as that of the disk space, are made in `set_up`.
"""
