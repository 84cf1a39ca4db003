"""The stages of an iteration: generate → judge → score → train → evaluate.

Each stage writes files that are whole or absent and skips those that exist, so a stage that is run again after a kill
goes on, and one that is run again after its end does nothing.
"""
