"""``python -m ssfe.cli``, for machines where the script is not on the path."""

import sys

from ssfe.cli import main

sys.exit(main())
