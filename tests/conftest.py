"""What all tests share."""

import atexit
import gc
import os
import signal
import tempfile

# The tensors of tests are tiny: a second thread costs more than it gives, and there is a worker for each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Some tests ask for more threads than there are cores: one that waits for another would keep it from its core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")

# A shell starts what runs in its background with ^C ignored, and what a test starts and interrupts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hub.environment  # before anything that imports huggingface_hub
import pytest
from hub.fixture import hub
from hypothesis import settings
from registry.fixture import debian, one_registry, registries, registry
from secrets_scan import no_secrets, pytest_runtest_makereport
from storage.fixture import storage

settings.register_profile("here", deadline=None)  # machines are shared and noisy
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# What a user, or an earlier session, has kept is neither read nor added to.
_cache = tempfile.TemporaryDirectory(prefix="loramerge-cache-", ignore_cleanup_errors=True)
atexit.register(_cache.cleanup)
os.environ["XDG_CACHE_HOME"] = _cache.name


# What libraries and tests make lives long: to look through all of it for cycles, as often as Python does by default,
# takes a sixth of a session.
gc.set_threshold(50_000, 20, 20)


_FILES = 4  # of tests, after which models that hold themselves are let go: they take gigabytes in the end

_files = 0


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """What is there between files stays, libraries above all, and is looked through no more; see gc.freeze."""
    global _files  # noqa: PLW0603  of a session
    if nextitem is None or nextitem.path != item.path:
        _files += 1
        if _files % _FILES == 0:
            gc.collect()
            gc.freeze()


def pytest_collection_modifyitems(items):
    """Workers take file after file: slow ones come first, so that in the end none waits for another.

    Of those, the files of this folder itself, which run whole programs, take longest.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")}
    items.sort(key=lambda item: (item.path not in slow, len(item.path.parts)))


__all__ = [
    "debian",
    "hub",
    "no_secrets",
    "one_registry",
    "pytest_runtest_makereport",
    "registries",
    "registry",
    "storage",
]
