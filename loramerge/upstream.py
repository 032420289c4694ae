"""Keeping the libraries underneath from talking to our users about each other."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Silence deprecations and log lines of torch, PEFT, diffusers and transformers inside a `with`.

    They address whoever calls these libraries. What concerns the merge is checked and said here instead. Only
    libraries that are already imported are touched.
    """
    loggers = [
        sys.modules[name] for name in ("diffusers.utils.logging", "transformers.utils.logging") if name in sys.modules
    ]
    levels = [logger.get_verbosity() for logger in loggers]
    bars = [logger.is_progress_bar_enabled() for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
        logger.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for logger, level, bar in zip(loggers, levels, bars, strict=True):
            logger.set_verbosity(level)
            if bar:
                logger.enable_progress_bar()
