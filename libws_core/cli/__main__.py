"""`python -m libws_core.cli`, the same as `libws`."""

import sys

from . import main

sys.exit(main())
