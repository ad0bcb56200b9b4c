"""Who draws and runs the trials of a search: the embedded engine, or Katib.

`contract.py` says what an engine is, `choice.py` which one it is. An engine knows its own trials
and nothing of what follows a search.
"""
