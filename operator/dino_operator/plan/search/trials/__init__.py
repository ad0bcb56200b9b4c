"""Trials: what is known of each, the DinoJobs that run them, and the best one.

Knows no engine and no sampler; Katib's trials are read in `engines/katib`.
"""
