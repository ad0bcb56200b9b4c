"""What the next trial trains with: pure functions of the seed and the finished trials.

`draw.py` chooses the sampler; a module for each. No Kubernetes object is read or made here.
"""
