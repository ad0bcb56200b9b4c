"""From the file behind `-e` to a checked experiment.

Reading, what running needs, an action's section. Knows the contract, and nothing of data or models.
"""
