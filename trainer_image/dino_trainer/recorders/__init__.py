"""Services that record a training beside our own reports. Start at `sinks.recorded`."""
