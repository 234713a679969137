"""The rides are programs of their own, too: `python tests/simulation`. So they are imported from this folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
