"""Estimates of what a run would take: tokens, memory, arithmetic and time.

It lies above `sparring.selfplay`, so no check before a run can use it.
"""
