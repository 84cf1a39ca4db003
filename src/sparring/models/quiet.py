"""Makes models without transformers' progress bars and warnings, one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging

_MAKING = threading.RLock()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silences transformers' messages but errors within the block; the caller must check what it would warn of."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def making_models() -> Iterator[None]:
    """Silences transformers, and lets one thread at a time into the block.

    While transformers makes a model, it replaces functions and the number format of the whole process, and then
    restores what it found. If two threads did so at once, one would restore the other's replacements, and no model
    would load any more.
    """
    with _MAKING, quiet_transformers():
        yield
