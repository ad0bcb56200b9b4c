"""The Katib engine: a search whose trials are drawn and run by Katib.

`engine.py` is the engine; `experiment.py` renders the Experiment and `space.py` its parameters;
`katib_trials.py` reads what became of the trials; `hangs.py` notices what Katib never ends.
`docs/katib.md` says what works on Katib, what does not, and why.
"""
