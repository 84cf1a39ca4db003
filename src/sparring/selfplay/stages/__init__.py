"""The stages of an iteration: generate → judge → score → train → evaluate.

Each one writes files that are whole or absent and skips what is already there, so doing a stage again after a kill
continues it, and doing it again after its end does nothing.

To add one: write a module here with a function of the run and the iteration, call it in `loop` under `run.timed`, and
give it its place in `STAGES` of `reports/cost.py`. What it keeps gets its name and its rows in `sparring.shards`.
Later stages want at least one sample of every prompt of the phase: one that leaves prompts out must change `score` and
`join`.
"""
