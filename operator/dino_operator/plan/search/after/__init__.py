"""After the trials: the report, the jobs on the winner, the last word.

No trial is made or run again from here on.
"""
