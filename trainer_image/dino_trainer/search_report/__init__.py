"""The report of a search: one page that needs no other file, and no torch to make it.

`charts.py` says what is drawn; `page.py` puts it together with the tables and what Optuna computes.
"""
