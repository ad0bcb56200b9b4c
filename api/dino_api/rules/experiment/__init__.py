"""Rules about several keys of the experiment."""
