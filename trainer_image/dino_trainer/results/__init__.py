"""The results folder of an action: local files, their published copies, and the list of them."""
