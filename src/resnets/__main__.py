"""``python -m resnets`` is the command ``resnets``."""

from __future__ import annotations

import sys

from resnets.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
