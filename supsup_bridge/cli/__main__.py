"""`python -m supsup_bridge.cli`: the same as `supsup`."""

import sys

from supsup_bridge.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
