"""Training: the loop and what it needs. Start reading at `loop.train`."""
