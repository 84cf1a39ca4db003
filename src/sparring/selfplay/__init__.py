"""The loop of self-play, from a configuration to a result.

    config      the settings, and how they are read from YAML
    policy      the one model in memory, which plays as any of the policies
    checks      the checks before a model is loaded
    prepared    a checked configuration, with its components (components, phases) and its data
    run         a run, as its stages see it
    stages      generate → score → judge → train → evaluate, one module each
    set_up      from a prepared configuration to a run: its folder, its model, its manifest
    loop        the order of the stages; monitor and early_stop decide when it ends, remaining says how long that takes,
                result records how it ended

Each knows only those above it in this list; a contract in pyproject.toml has the exact order.
"""
