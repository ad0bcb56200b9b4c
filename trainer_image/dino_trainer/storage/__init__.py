"""Folders and S3 behind one small interface: what the trainer reads from and writes to.

Start at `opening.open_store`. `store.py` says what a store is; `local.py` and `s3.py` are the two.
"""
