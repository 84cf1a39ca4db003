"""Who computes: work in pieces, each of which becomes one shard.

A shard depends on its piece alone and not on who makes it, so the files are the same whoever does. The processes of
a launch share the pieces out among themselves; a Ray cluster takes them from a queue. Nothing here knows what is
computed: a job is opened with a context, which the caller chooses.
"""
