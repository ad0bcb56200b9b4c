"""Folders and S3 behind one small interface: what the trainer reads from and writes to."""
