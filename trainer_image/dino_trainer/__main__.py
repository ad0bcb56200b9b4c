"""`python -m dino_trainer`: the `dino` command."""

import sys

from dino_trainer.cli import main

sys.exit(main())
