"""Keeping the libraries underneath from talking to our users about each other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(*, drawing: bool = True) -> Iterator[None]:
    """Silence deprecations, log lines and progress bars of diffusers, transformers and PEFT inside a `with`.

    They address whoever calls these libraries. What concerns the merge is checked and said by us instead.

    Args:
        drawing: diffusers is used as well, which takes seconds to load.
    """
    from transformers.utils import logging as transformers_logging

    loggers = [transformers_logging]
    if drawing:
        from diffusers.utils import logging as diffusers_logging

        loggers.append(diffusers_logging)
    before = [(logger, logger.get_verbosity(), logger.is_progress_bar_enabled()) for logger in loggers]
    for logger in loggers:
        logger.set_verbosity_error()
        logger.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)  # a second LoRA is meant
            yield
    finally:
        for logger, level, bar in before:
            logger.set_verbosity(level)
            if bar:
                logger.enable_progress_bar()
