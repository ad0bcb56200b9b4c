"""What people with Kubernetes' own roles may do to DinoJobs and DinoAutoMLs.

The controller manager adds the chart's ClusterRoles to `view`, `edit` and `admin` by their labels.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import product

import kubernetes
import pytest
import yaml

from dino_api import names
from tests.api.clients import CHART, Kubectl, helm
from tests.api.operator_cluster import a_manifest
from tests.api.operator_process import eventually

READ = {"get", "list", "watch"}
WRITE = {"create", "update", "patch", "delete", "deletecollection"}
KUBERNETES = {"view": READ, "edit": READ | WRITE, "admin": READ | WRITE}
"""Its roles, and what they allow to who has them in a namespace."""
PLURALS = (names.PLURAL, names.AUTOML_PLURAL)


@pytest.fixture(scope="module")
def roles(cluster_kubectl: Kubectl) -> Iterator[None]:
    """The chart's ClusterRoles for people, of a release of its own, so that they can go again."""
    release = f"people-{uuid.uuid4().hex[:8]}"
    words = ("template", release, str(CHART), "--show-only", "templates/user-roles.yaml")
    rendered = helm(cluster_kubectl.kubeconfig, "default", *words)
    assert rendered.returncode == 0, rendered.stderr
    made = cluster_kubectl("create", "-f", "-", stdin=rendered.stdout)
    assert made.returncode == 0, made.stderr
    yield
    cluster_kubectl("delete", "-f", "-", stdin=rendered.stdout)


@pytest.fixture
def people(roles: None, kubectl: Kubectl) -> None:
    """In the test's namespace a user of each role's name with that role."""
    for role in KUBERNETES:
        words = (f"--clusterrole={role}", f"--user={role}-user")
        bound = kubectl("create", "rolebinding", role, *words)
        assert bound.returncode == 0, bound.stderr
    for role, allowed in KUBERNETES.items():  # each comes by itself, in no order
        verb = "create" if allowed & WRITE else "list"
        asked = ("auth", "can-i", verb, f"dinojobs.{names.GROUP}", f"--as={role}-user")
        eventually(
            lambda asked=asked: kubectl(*asked).stdout.strip() == "yes",  # type: ignore[misc]
            f"the chart's roles in Kubernetes' own {role}",
        )


class Access:
    """Asks the API server what a user may do in a namespace."""

    def __init__(self, client: kubernetes.client.ApiClient, namespace: str) -> None:
        self._api = kubernetes.client.AuthorizationV1Api(client)
        self._namespace = namespace

    def __call__(self, user: str, verb: str, resource: str, subresource: str = "") -> bool:
        """`kubectl auth can-i VERB RESOURCE --as USER`."""
        what = {
            "namespace": self._namespace,
            "group": names.GROUP,
            "resource": resource,
            "subresource": subresource,
            "verb": verb,
        }
        review = {"spec": {"user": user, "resourceAttributes": what}}
        return bool(self._api.create_subject_access_review(review).status.allowed)


@pytest.fixture
def may(people: None, api_client: kubernetes.client.ApiClient, namespace: str) -> Access:
    """Whether a user may do something in the test's namespace."""
    return Access(api_client, namespace)


def test_each_role_allows_what_its_name_says_and_no_more(may: Access) -> None:
    for role, plural in product(KUBERNETES, PLURALS):
        allowed = {verb for verb in READ | WRITE if may(f"{role}-user", verb, plural)}
        assert allowed == KUBERNETES[role], (role, plural)


def test_nobody_writes_a_status(may: Access) -> None:
    """It is the operator's, and a training pod's progress."""
    for role, plural in product(KUBERNETES, PLURALS):
        assert may(f"{role}-user", "get", plural, "status"), (role, plural)
        assert not {v for v in WRITE if may(f"{role}-user", v, plural, "status")}, (role, plural)


def test_a_user_without_a_role_may_do_nothing(may: Access) -> None:
    assert not {
        (verb, plural)
        for verb, plural in product(READ | WRITE, PLURALS)
        if may("stranger", verb, plural)
    }


def test_an_editor_makes_a_job_and_a_viewer_does_not(people: None, kubectl: Kubectl) -> None:
    manifest = yaml.safe_dump(a_manifest("theirs"))
    refused = kubectl("create", "-f", "-", "--as=view-user", stdin=manifest)
    assert 'User "view-user" cannot create resource "dinojobs"' in refused.stderr
    made = kubectl("create", "-f", "-", "--as=edit-user", stdin=manifest)
    assert made.returncode == 0, made.stderr
    assert kubectl("get", "dinojob", "theirs", "--as=view-user").returncode == 0
