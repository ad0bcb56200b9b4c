"""What we say: conditions, phases, sentences and events, whatever is decided.

Makes parts of a status from what was observed. What is done about it is decided in `job/` and
`search/`.
"""
