"""The Katib engine: a search whose trials are drawn and run by Katib.

`engine.py` is the engine, as `plan/search/engine.py` says what one is; `experiment.py` renders the
Experiment and `space.py` its parameters; `reading.py` reads what became of the trials; `hangs.py`
notices what Katib itself never ends. `docs/katib.md` says what works on Katib, what does not, why.
"""
