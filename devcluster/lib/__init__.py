"""The dev cluster: a real one-node Kubernetes. Start reading at cli.py, then up.py."""
