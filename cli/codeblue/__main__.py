"""`python -m codeblue` is the command."""

from __future__ import annotations

import sys

from codeblue.main import main

if __name__ == "__main__":
    sys.exit(main())
