"""Wall time, in one place that tests can replace.

Durations and deadlines use the running loop's own clock, `asyncio.get_running_loop().time()`; wall time is for what
people and servers read. `libws_core.testing` replaces `source` while a virtual clock runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

source: Callable[[], float] = time.time
"""What `wall` asks. Replace it only through `libws_core.testing`."""


def wall() -> float:
    """Seconds since the epoch."""
    return source()
