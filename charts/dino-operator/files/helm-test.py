"""What `helm test` runs, in the operator's image and with its rights: is a user's DinoJob taken?

Nothing is created: the API server is asked by dry runs. Says in a sentence what is missing.
"""

import os
import sys

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

GROUP, VERSION = "dino-operator.io", "v1alpha1"
JOB = {
    "apiVersion": f"{GROUP}/{VERSION}",
    "kind": "DinoJob",
    "metadata": {"generateName": "helm-test-"},
    "spec": {
        "action": "train",
        "automlPolicy": "Disabled",
        "datasets": {
            "train": [{"uri": "s3://bucket/train"}],
            "validation": [{"uri": "s3://bucket/val"}],
        },
        "output": {"uri": "s3://bucket/out"},
        "experiment": {"train": {"num_epochs": 1}},
    },
}


def main() -> str:
    """The first thing that is wrong; empty where nothing is."""
    config.load_config()
    api, namespace = client.CustomObjectsApi(), os.environ["DINO_TEST_NAMESPACE"]
    where = {"group": GROUP, "version": VERSION, "namespace": namespace}
    for plural in ("dinojobs", "dinoautomls"):
        try:
            api.list_namespaced_custom_object(**where, plural=plural, limit=1)
        except ApiException as error:
            return (
                f"{plural} cannot be listed ({error.reason}): is crds/ of this release installed?"
            )
    create = {**where, "plural": "dinojobs", "dry_run": "All", "field_validation": "Strict"}
    try:
        api.create_namespaced_custom_object(**create, body=JOB)
    except ApiException as error:
        return f"a DinoJob that is right is refused: {error.body}"
    wrong = {**JOB, "spec": {**JOB["spec"], "experiment": {"train": {"num_epochs": 0}}}}
    try:
        api.create_namespaced_custom_object(**create, body=wrong)
    except ApiException as error:
        if "num_epochs" in str(error.body):
            return ""
        return f"a DinoJob with num_epochs 0 is refused for something else: {error.body}"
    return "a DinoJob with num_epochs 0 is taken: the CRDs are not those of this release"


if __name__ == "__main__":
    wrong = main()
    print(
        wrong or "DinoJobs are served, taken where they are right, and refused where they are not."
    )
    sys.exit(1 if wrong else 0)
