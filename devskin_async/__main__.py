"""`python -m devskin_async` is `devskin`."""

import sys

from .cli import main

sys.exit(main())
