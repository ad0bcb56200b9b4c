"""The Kubernetes objects: DinoJob and DinoAutoML, what stands in them, and their status.

Reading is tolerant (unknown fields are ignored, the experiment stays a mapping), because the API
server has already refused what the CRD refuses; `dino_api.loading` judges the experiment.
"""
