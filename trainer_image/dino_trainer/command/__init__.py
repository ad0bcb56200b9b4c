"""The `dino` command: its words and help, and one run from the spec file to the exit code.

The commands that are no actions live here, too. Nothing else imports this folder.
"""
