"""Start the server. Its settings come as JSON on the first line of standard input."""

from __future__ import annotations

import json
import sys

from codeblue.lab.aws.server.keeper import Keeper, Settings


def main() -> int:
    """Serve until it is ended; returns the exit status."""
    return Keeper(Settings(**json.loads(sys.stdin.readline()))).run()


if __name__ == "__main__":
    sys.exit(main())
