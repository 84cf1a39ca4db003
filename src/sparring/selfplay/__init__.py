"""The loop of self-play, from a configuration to a result.

    config      the settings, and their form in YAML
    policy      the one model in memory, which plays as any of the policies
    checks      the checks before a model is loaded
    prepared    a checked configuration, with its components (components, phases) and its data
    run         a run, as its stages see it
    stages      generate → score → judge → train → evaluate, one module each
    set_up      makes a run of a prepared configuration: its folder, its model, its manifest
    loop        the order of the stages; monitor and early_stop decide when it ends, remaining estimates the time, and
                result records the end

A module imports only those above it in this list; a contract in pyproject.toml has the exact order.
"""
