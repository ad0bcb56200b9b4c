"""Holds the `kubectl dino` command: a file for each of its commands.

Each command has `add`, which teaches the parser, and what it runs. What asks the API server goes
through `cluster.py` alone; what is printed is made by functions of objects, without a client.
"""

from __future__ import annotations

from dino_operator.kubectl.command import complete, main, parser

__all__ = ["complete", "main", "parser"]
