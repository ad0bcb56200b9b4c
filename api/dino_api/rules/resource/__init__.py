"""Rules about the Kubernetes objects, which the API server alone applies: CEL without Python."""
