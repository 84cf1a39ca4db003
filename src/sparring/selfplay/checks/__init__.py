"""The checks of a run before a model is loaded, one module for each subject.

`phases_of` makes those that need only the settings, `prepare` the others, from the cheapest to the dearest. What needs
the loaded model, such as the room on the disk, is checked in `set_up`.
"""
