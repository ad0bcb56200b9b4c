"""The report of a search: one page that needs no other file, and no torch to make it.

`charts.py` draws with plotly what Optuna computes; `page.py` puts it together with the tables.
"""
