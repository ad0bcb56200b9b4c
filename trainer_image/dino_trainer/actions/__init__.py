"""One module for each action of the `dino` command; each has `run(spec, context) -> Result`."""
