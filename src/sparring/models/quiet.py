"""Making models without transformers' progress bars and warnings, and without other threads in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging

_MAKING = threading.RLock()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silences transformers below errors inside the block; what it would warn of, the caller must check."""
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
    """Silences transformers, and lets one thread at a time inside.

    While it makes a model, transformers exchanges functions and the number format of the whole process, and puts back
    what it found. What it finds while another thread does so would stay for ever: no model would load any more.
    """
    with _MAKING, quiet_transformers():
        yield
