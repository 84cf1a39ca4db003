"""What can be checked of a run before a model is loaded, a subject a module.

`phases_of` asks what settings alone can tell, `prepare` the rest, from the cheapest check to the dearest. What needs
the loaded model, such as room on the disk, is checked in `set_up`.
"""
