"""The dev cluster: a real one-node Kubernetes for machines that have none. Start reading at cli.py, then up.py."""
