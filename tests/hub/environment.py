"""Points huggingface_hub at one loopback Hub for the whole session; the client reads its environment when imported.

To be imported before anything that imports huggingface_hub.
"""

import atexit
import os
import sys
import tempfile
from pathlib import Path

from hub.server import Hub

if "huggingface_hub" in sys.modules:
    raise RuntimeError("hub.environment must be imported before huggingface_hub")

_home = tempfile.TemporaryDirectory(prefix="loramerge-hub-", ignore_cleanup_errors=True)
atexit.register(_home.cleanup)

HUB = Hub()
CACHE = Path(_home.name, "hub")

_UNWANTED = (
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_STAGING",
)
for _name in _UNWANTED:
    os.environ.pop(_name, None)
os.environ |= {
    "HF_ENDPOINT": HUB.url,
    "HF_HOME": _home.name,
    "HF_HUB_CACHE": str(CACHE),
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DOWNLOAD_TIMEOUT": "3",
    "HF_HUB_ETAG_TIMEOUT": "3",
    "NO_PROXY": "127.0.0.1,localhost",
}
