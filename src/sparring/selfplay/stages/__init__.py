"""The stages of an iteration: generate → judge → score → train → evaluate.

Each one writes files that are whole or absent and skips what is already there, so doing a stage again after a kill
continues it, and doing it again after its end does nothing.
"""
