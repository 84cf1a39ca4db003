"""The trainer and the iteration loop.

`config` is the whole run's configuration; `prepare` checks it before anything expensive; `loop` plays it with the
`stages`; `trainer` is the drop-in for people with a loop of their own.
"""
