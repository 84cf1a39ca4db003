"""Self-play fine-tuning of language models.

    from sparring import SelfPlayConfig, run
    run(SelfPlayConfig.from_yaml("config.yaml"))

Importing this package is cheap; torch and transformers are imported when they are first needed.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparring.api import resume, run
    from sparring.selfplay.config.schema import SelfPlayConfig
    from sparring.selfplay.result import Result
    from sparring.trainer.trainer import SelfPlayTrainer

# Libraries import it if it is installed, and it then warns of a kernel that is not used here.
logging.getLogger("bitsandbytes.backends.cpu").setLevel(logging.ERROR)

__all__ = ["Result", "SelfPlayConfig", "SelfPlayTrainer", "resume", "run"]

_HOMES = {
    "SelfPlayConfig": "sparring.selfplay.config.schema",
    "Result": "sparring.selfplay.result",
    "resume": "sparring.api",
    "run": "sparring.api",
    "SelfPlayTrainer": "sparring.trainer.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
