"""`python -m noisezoo` is the command `noisezoo`."""

import sys

from noisezoo.cli import main

sys.exit(main())
