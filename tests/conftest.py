"""For all tests: what is kept between runs goes to a folder of this run, never to the user's own cache."""

from __future__ import annotations

import os
import tempfile

os.environ["NOISEZOO_CACHE"] = tempfile.mkdtemp(prefix="noisezoo-cache-")
