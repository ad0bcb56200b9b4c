"""What the chart promises, asserted on what real Helm renders from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from charts import generate
from dino_api import names
from dino_operator import main, options
from dino_operator.plan.model import Settings
from tests.chart.conftest import CHART, KUBE_VERSION, ROOT, Helm, Objects

Render = Callable[..., Objects]
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def of_kind(objects: Objects, *kinds: str) -> Objects:
    return [one for one in objects if one["kind"] in kinds]


def named(objects: Objects, name: str) -> Objects:
    return [one for one in objects if one["metadata"]["name"] == name]


def deployment(objects: Objects) -> dict[str, Any]:
    (found,) = of_kind(objects, "Deployment")
    return found


def environment(objects: Objects) -> dict[str, str]:
    (container,) = deployment(objects)["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"]}


def rules(objects: Objects) -> Iterator[dict[str, Any]]:
    for role in of_kind(objects, "Role", "ClusterRole"):
        yield from role["rules"]


def test_helm_lint_finds_nothing(helm: Helm) -> None:
    done = helm("lint", str(CHART), "--strict", "--kube-version", KUBE_VERSION)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("values", [(), ("watchNamespaces={red,blue}",)])
def test_no_rule_has_a_wildcard_or_touches_secrets(render: Render, values: tuple[str, ...]) -> None:
    found = list(rules(render(*values)))
    assert found
    for rule in found:
        for words in (rule["apiGroups"], rule["resources"], rule["verbs"]):
            assert not any("*" in word for word in words), rule
        assert "secrets" not in rule["resources"], rule
        assert not {"escalate", "impersonate"}.intersection(rule["verbs"]), rule


def test_the_operator_may_hand_out_one_role_only(render: Render) -> None:
    binds = [rule for rule in rules(render()) if "bind" in rule["verbs"]]
    assert [rule["resourceNames"] for rule in binds] == [[names.PROGRESS_CLUSTER_ROLE]]
    assert all("clusterroles" not in rule["resources"] or rule in binds for rule in rules(render()))


def test_the_trainers_role_is_one_verb_on_one_resource(render: Render) -> None:
    (role,) = (
        one
        for one in of_kind(render(), "ClusterRole")
        if one["metadata"]["name"] == names.PROGRESS_CLUSTER_ROLE
    )
    assert role["rules"] == [
        {"apiGroups": [names.GROUP], "resources": [f"{names.PLURAL}/status"], "verbs": ["patch"]}
    ]


def test_what_is_not_watched_may_only_be_listed(render: Render) -> None:
    """LimitRanges before a Job is made, and the events of what hangs; besides it makes events."""
    verbs = {
        kind: sorted(
            v for rule in rules(render()) if kind in rule["resources"] for v in rule["verbs"]
        )
        for kind in ("limitranges", "events")
    }
    assert verbs == {"limitranges": ["list"], "events": ["create", "list"]}


def test_named_namespaces_get_roles_and_the_cluster_none(render: Render) -> None:
    objects = render("watchNamespaces={red,blue}")
    for kind in ("Role", "RoleBinding"):
        named_so = named(of_kind(objects, kind), "dino-operator")
        assert [one["metadata"]["namespace"] for one in named_so] == ["red", "blue"]
    assert not of_kind(objects, "ClusterRoleBinding"), "none of the others is the operator's"
    assert {one["metadata"]["name"] for one in of_kind(objects, "ClusterRole")} == {
        names.PROGRESS_CLUSTER_ROLE,
        "dino-operator-view",
        "dino-operator-edit",
    }
    assert environment(objects)["DINO_WATCH_NAMESPACES"] == "red,blue"
    (whole,) = named(of_kind(render(), "ClusterRole"), "dino-operator")
    assert of_kind(objects, "Role")[0]["rules"] == whole["rules"]


def test_every_verb_stands_in_the_table_with_its_reason(render: Render) -> None:
    """docs/permissions.md is read from the template's text, and lacks nothing that Helm renders."""
    objects = render()
    ours = [*named(of_kind(objects, "ClusterRole"), "dino-operator"), *of_kind(objects, "Role")]
    rendered = {
        (group, resource, *sorted(rule.get("resourceNames", ())), verb)
        for role in ours
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    told = {
        (group, resource, *sorted(each.names), each.verb)
        for each in generate.rights()
        for group in each.groups
        for resource in each.resources
    }
    assert told == rendered
    assert all(
        each.row in (ROOT / "docs" / "permissions.md").read_text() for each in generate.rights()
    )


@pytest.mark.parametrize("values", [(), ("watchNamespaces={red}",)])
def test_of_leases_it_may_change_its_own_alone(render: Render, values: tuple[str, ...]) -> None:
    """In the release's namespace; and make any there, as Kubernetes cannot limit that to a name."""
    objects = render(*values)
    (role,) = named(of_kind(objects, "Role"), "dino-operator-lease")
    assert role["metadata"]["namespace"] == "dino-system"
    about = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    assert role["rules"] == [
        {**about, "resourceNames": ["dino-operator"], "verbs": ["get", "update"]},
        {**about, "verbs": ["create"]},
    ]
    others = [rule for rule in rules(objects) if rule not in role["rules"]]
    assert not any("leases" in rule["resources"] for rule in others)
    assert environment(objects)["DINO_LEASE"] == "dino-system/dino-operator"


def test_one_pod_is_replaced_and_of_two_one_stays(render: Render) -> None:
    """Without a strategy's defaults: the API server refuses what an upgrade leaves of the other."""
    one, two = (deployment(render(*values))["spec"] for values in ((), ("replicas=2",)))
    assert (one["replicas"], one["strategy"]) == (1, {"type": "Recreate"})
    assert two["replicas"] == 2
    assert two["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }


def test_two_pods_would_rather_be_on_two_nodes_unless_told_otherwise(render: Render) -> None:
    pods = [
        deployment(render(*values))["spec"]["template"]
        for values in ((), ("replicas=2",), ("replicas=2", "affinity.nodeAffinity.x=y"))
    ]
    alone, two, told = (pod["spec"].get("affinity") for pod in pods)
    assert alone is None
    (apart,) = two["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    selected = apart["podAffinityTerm"]["labelSelector"]["matchLabels"]
    assert selected.items() <= pods[1]["metadata"]["labels"].items()
    assert told == {"nodeAffinity": {"x": "y"}}


AGGREGATED = "rbac.authorization.k8s.io/aggregate-to-"


def aggregated(objects: Objects) -> dict[str, set[str]]:
    """To which of Kubernetes' roles each ClusterRole is added."""
    return {
        one["metadata"]["name"]: {
            label.removeprefix(AGGREGATED)
            for label in one["metadata"]["labels"]
            if label.startswith(AGGREGATED)
        }
        for one in of_kind(objects, "ClusterRole")
    }


def test_people_get_rights_by_kubernetes_own_roles_unless_that_is_turned_off(
    render: Render,
) -> None:
    """tests/api/test_user_roles.py asks an API server what they may do then."""
    added = {name: to for name, to in aggregated(render()).items() if to}
    assert added == {
        "dino-operator-view": {"view", "edit", "admin"},
        "dino-operator-edit": {"edit", "admin"},
    }
    assert not any(aggregated(render("rbac.aggregateClusterRoles=false")).values())


@pytest.mark.parametrize("values", [(), ("watchNamespaces={red}",)])
def test_of_kueue_it_may_list_workloads_unless_that_is_turned_off(
    render: Render, values: tuple[str, ...]
) -> None:
    def of_kueue(*more: str) -> list[Any]:
        found = rules(render(*values, *more))
        return [rule for rule in found if "kueue.x-k8s.io" in rule["apiGroups"]]

    (rule,) = of_kueue()
    assert (rule["resources"], rule["verbs"]) == (["workloads"], ["list"])
    assert of_kueue("kueue.enabled=false") == []


def test_the_pod_passes_the_restricted_standard(render: Render) -> None:
    pod = deployment(render())["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} == set(container["resources"])
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600, "on a busy node"
    assert container["livenessProbe"]
    assert container["readinessProbe"]


def test_never_two_operators_at_once(render: Render) -> None:
    spec = deployment(render())["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_crds_come_with_the_chart_and_stay_after_it(render: Render) -> None:
    crds = of_kind(render(), "CustomResourceDefinition")
    kinds = {one["spec"]["names"]["kind"] for one in crds}
    assert kinds == {names.KIND, names.AUTOML_KIND}
    assert all(one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for one in crds)


def test_crds_can_be_left_out_and_can_go(render: Render) -> None:
    assert not of_kind(render("crds.enabled=false"), "CustomResourceDefinition")
    for crd in of_kind(render("crds.keep=false"), "CustomResourceDefinition"):
        assert "helm.sh/resource-policy" not in (crd["metadata"].get("annotations") or {})


def test_the_chart_carries_the_generated_crds(render: Render) -> None:
    rendered = of_kind(render("crds.keep=false"), "CustomResourceDefinition")
    written = [yaml.safe_load(path.read_text()) for path in (CHART.parents[1] / "crds").glob("*")]
    assert {one["metadata"]["name"]: one["spec"] for one in rendered} == {
        one["metadata"]["name"]: one["spec"] for one in written
    }


def test_values_reach_the_operator(render: Render) -> None:
    found = environment(
        render(
            "s3.endpoint=http://s3.storage:7070",
            "s3.region=eu-north-1",
            "s3.pathStyle=true",
            "s3.secretName=keys",
            "cache.claimName=data",
            "automl.enabled=false",
            "automl.routedTrials=12",
            "automl.routedParallelTrials=3",
            "automl.profile.trainUri=s3://smoke/train",
            "trainer.image.repository=registry.example/trainer",
            "trainer.image.tag=v2",
            "trainer.image.pullPolicy=Always",
            "trainer.cpuPerProcess=6",
            "trainer.imagePullSecrets[0].name=keys-1",
            "trainer.imagePullSecrets[1].name=keys-2",
            "trainer.caConfigMap=private-ca",
            "trainer.extraEnv.MLFLOW_TRACKING_URI=http://mlflow:5000",
            "proxy.https=http://proxy:3128",
            "tensorrt.image=registry.example/trainer:v2-tensorrt",
            "log.level=debug",
            "log.format=json",
        )
    )
    profile = json.loads(found.pop("DINO_AUTOML_PROFILE"))
    assert profile == {**VALUES["automl"]["profile"], "trainUri": "s3://smoke/train"}
    assert json.loads(found.pop("DINO_TRAINER_ENV")) == {
        "HTTPS_PROXY": "http://proxy:3128",
        "https_proxy": "http://proxy:3128",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    }
    assert found == {
        "DINO_AUTOML": "false",
        "DINO_AUTOML_TRIALS": "12",
        "DINO_AUTOML_PARALLEL_TRIALS": "3",
        "DINO_TRAINER_IMAGE": "registry.example/trainer:v2",
        "DINO_TENSORRT_IMAGE": "registry.example/trainer:v2-tensorrt",
        "DINO_IMAGE_PULL_POLICY": "Always",
        "DINO_CPU_PER_PROCESS": "6",
        "DINO_TRAINER_PULL_SECRETS": "keys-1,keys-2",
        "DINO_CA_CONFIG_MAP": "private-ca",
        "DINO_S3_ENDPOINT": "http://s3.storage:7070",
        "DINO_S3_REGION": "eu-north-1",
        "DINO_S3_PATH_STYLE": "true",
        "DINO_S3_SECRET": "keys",
        "DINO_CACHE_CLAIM": "data",
        "DINO_WATCH_NAMESPACES": "",
        "DINO_LEASE": "dino-system/dino-operator",
        "DINO_LOG_LEVEL": "debug",
        "DINO_LOG_FORMAT": "json",
    }


def test_the_operator_reads_the_charts_own_values(render: Render) -> None:
    """Its defaults are the operator's. The smoke profile is that of TAO's skill: four kinds of
    objects, ten short trials."""
    environ = environment(render())
    read = options.settings(main.parser(environ).parse_args([]))
    assert read == Settings(trainer_image=environ["DINO_TRAINER_IMAGE"])
    assert (read.profile.num_classes, read.profile.max_trials) == (5, 10)


def test_the_example_without_a_way_out_names_no_other_registry(helm: Helm) -> None:
    example = str(ROOT / "examples" / "helm" / "air-gap.yaml")
    lint = helm("lint", str(CHART), "--strict", "--kube-version", KUBE_VERSION, "-f", example)
    assert lint.returncode == 0, lint.stdout
    done = helm("template", "x", str(CHART), "--kube-version", KUBE_VERSION, "-f", example)
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    (container,) = deployment(objects)["spec"]["template"]["spec"]["containers"]
    trainer = environment(objects)["DINO_TRAINER_IMAGE"]
    assert {one.partition("/")[0] for one in (container["image"], trainer)} == {
        "mirror.internal:5000"
    }


def test_a_digest_pins_an_image(render: Render) -> None:
    digest = "sha256:" + "0" * 64
    (container,) = deployment(render(f"image.tag={digest}"))["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["image"] == f"{VALUES['image']['repository']}@{digest}"


def test_the_metrics_service_is_off_until_asked_for(render: Render) -> None:
    assert not of_kind(render(), "Service")
    (service,) = of_kind(
        render("metrics.service.enabled=true", "metrics.service.port=9100"), "Service"
    )
    assert service["spec"]["ports"] == [{"name": "metrics", "port": 9100, "targetPort": "metrics"}]
    labels = deployment(render())["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


PLACEMENT = {
    "extraEnv[0].name=AWS_ROLE_ARN,extraEnv[0].value=arn": lambda spec: (
        {"name": "AWS_ROLE_ARN", "value": "arn"} in spec["spec"]["containers"][0]["env"]
    ),
    "podLabels.team=vision": lambda spec: spec["metadata"]["labels"]["team"] == "vision",
    "podAnnotations.note=x": lambda spec: spec["metadata"]["annotations"] == {"note": "x"},
    "nodeSelector.disk=ssd": lambda spec: spec["spec"]["nodeSelector"] == {"disk": "ssd"},
    "tolerations[0].operator=Exists": lambda spec: (
        spec["spec"]["tolerations"] == [{"operator": "Exists"}]
    ),
    "affinity.nodeAffinity.x=y": lambda spec: (
        spec["spec"]["affinity"] == {"nodeAffinity": {"x": "y"}}
    ),
    "priorityClassName=high": lambda spec: spec["spec"]["priorityClassName"] == "high",
    "imagePullSecrets[0].name=r": lambda spec: spec["spec"]["imagePullSecrets"] == [{"name": "r"}],
    "image.pullPolicy=Never": lambda spec: (
        spec["spec"]["containers"][0]["imagePullPolicy"] == "Never"
    ),
    "resources.limits.memory=1Gi": lambda spec: (
        spec["spec"]["containers"][0]["resources"]["limits"]["memory"] == "1Gi"
    ),
}


@pytest.mark.parametrize("value", PLACEMENT)
def test_where_and_how_the_operator_runs(render: Render, value: str) -> None:
    assert PLACEMENT[value](deployment(render(value))["spec"]["template"])


def test_the_service_account_takes_annotations(render: Render) -> None:
    (account,) = of_kind(render("serviceAccount.annotations.role=reader"), "ServiceAccount")
    assert account["metadata"]["annotations"] == {"role": "reader"}


REFUSED = {
    "a key that does not exist": ("typo=1", "typo"),
    "one below the top": ("s3.endpont=http://x", "endpont"),
    "an endpoint without a scheme": ("s3.endpoint=s3.storage:7070", "/s3/endpoint"),
    "a pull policy in lower case": ("image.pullPolicy=always", "/image/pullPolicy"),
    "text for a switch": ("crds.enabled=maybe", "/crds/enabled"),
    "a log level of other programs": ("log.level=trace", "/log/level"),
    "a namespace that cannot exist": ("watchNamespaces={Red}", "/watchNamespaces/0"),
    "CPUs with a unit of memory": ("trainer.cpuPerProcess=4Gi", "/trainer/cpuPerProcess"),
    "an image without a name": ("image.repository=", "/image/repository"),
    "no replicas": ("replicas=0", "/replicas"),
    "the operator's own variables": ("trainer.extraEnv.DINO_DEBUG=1", "/trainer/extraEnv"),
    "a proxy without a scheme": ("proxy.https=proxy:3128", "/proxy/https"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_schema_refuses(helm: Helm, case: str) -> None:
    value, named = REFUSED[case]
    done = helm("template", "x", str(CHART), "--kube-version", KUBE_VERSION, "--set", value)
    assert done.returncode != 0
    assert named in done.stderr


def test_an_older_kubernetes_is_refused(helm: Helm) -> None:
    done = helm("template", "x", str(CHART), "--kube-version", "1.29.0")
    assert done.returncode != 0
    assert "kubeVersion" in done.stderr


def test_every_value_has_a_comment_and_a_place_in_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    check_closed(schema, VALUES, "")
    for text in (CHART / "values.yaml").read_text().splitlines():
        key, colon, rest = text.strip().partition(":")
        if colon and not key.startswith("#") and rest.strip() and not rest.strip().startswith("#"):
            assert " # " in text, f"{key} has no comment on its line"


def check_closed(schema: dict[str, Any], values: dict[str, Any], path: str) -> None:
    """Every key of values.yaml is in the schema, whose objects take no other key."""
    assert schema["additionalProperties"] is False, path
    for key, value in values.items():
        below = schema["properties"][key]
        if isinstance(value, dict) and "properties" in below:
            check_closed(below, value, f"{path}.{key}")


def test_the_policy_covers_the_status_of_the_crds_version(render: Render) -> None:
    (policy,) = of_kind(render(), "ValidatingAdmissionPolicy")
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert policy["spec"]["matchConstraints"]["resourceRules"] == [
        {
            "apiGroups": [names.GROUP],
            "apiVersions": [names.VERSION],
            "resources": [f"{names.PLURAL}/status"],
            "operations": ["UPDATE"],
        }
    ]
    (binding,) = of_kind(render(), "ValidatingAdmissionPolicyBinding")
    assert binding["spec"] == {
        "policyName": policy["metadata"]["name"],
        "validationActions": ["Deny"],
    }
