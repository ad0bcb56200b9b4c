"""`python -m dino_trainer`: the `dino` command."""

import sys

from dino_trainer.command.cli import main

# Processes that are started afresh import this module under another name.
if __name__ == "__main__":
    sys.exit(main())
