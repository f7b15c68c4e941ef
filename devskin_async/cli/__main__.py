"""`python -m devskin_async.cli` is `devskin`."""

import sys

from . import main

sys.exit(main())
