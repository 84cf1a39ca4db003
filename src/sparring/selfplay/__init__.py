"""The loop of self-play, from a configuration to a result.

    config      what can be set, and how it is read from YAML
    policy      the one model in memory, and how it becomes any of the policies
    checks      what can be refused before a model is loaded
    prepared    a configuration that was checked, with its components (components, phases) and its data
    run         a run, as its stages see it
    stages      generate → judge → score → train → evaluate, a module each
    set_up      from a prepared configuration to a run: its folder, its model, what it is known by (manifest)
    loop        the order of the stages; monitor and early_stop say when it ends, result how it ended

Each knows only those above it in this list; a contract in pyproject.toml has the exact order.
"""
