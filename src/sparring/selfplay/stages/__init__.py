"""The stages of an iteration: generate → score → judge → train → evaluate.

Each stage writes files that are whole or absent and skips those that exist, so a stage that is run again after a kill
goes on, and one that is run again after its end does nothing.

To add one: write a module here with a function of the run and the iteration, call it in `loop` under `run.timed`, and
give it its place in `STAGES` of `reports/cost.py`. The names and rows of its shards go into `sparring.shards`. Later
stages need at least one sample of every prompt of the phase: a stage that leaves prompts out must change `score` and
`join`.
"""
