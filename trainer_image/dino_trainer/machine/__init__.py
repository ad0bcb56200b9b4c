"""The machine: its devices, cores and memory, and the processes that are started on it."""
