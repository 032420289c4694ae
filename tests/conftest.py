"""What all tests share."""

import hub.environment
from hub.fixture import hub

__all__ = ["hub"]
