"""A module whose import does what none should."""

from __future__ import annotations

import logging
import os
import threading

from libws_core import Event, hookimpl

os.environ["LIBWS_NOISY"] = "1"
logging.getLogger("noisy").addHandler(logging.StreamHandler())
threading.Thread(target=threading.Event().wait, name="noisy", daemon=True).start()
print("hello")


class Noisy:
    @hookimpl
    def observe(self, event: Event) -> None:
        pass
