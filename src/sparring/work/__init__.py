"""Workers: they do work in pieces, each of which becomes one shard.

A shard depends on its piece alone and not on its worker, so the files are the same whoever computes them. The processes
of a launch share the pieces out among themselves; a Ray cluster takes them from a queue. Nothing here depends on what
is computed: a job is opened with a context that the caller chooses.
"""
