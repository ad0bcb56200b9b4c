"""What the children look like: requests, volumes, variables, host names."""

from __future__ import annotations

import pytest

from dino_api.names import Action
from dino_operator.plan import annotations
from dino_operator.plan.model import Settings
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import children, names, pods, quantities, spec_file
from dino_operator.plan.rendered.micro_batch import MicroBatch
from tests.builders import JobBuilder, Object, a_job
from tests.unit.plan_actions import job_to

SETTINGS = Settings("trainer:1", cache_claim="data")
CHECK = pods.Attempt(1, preflight=True)
FIRST = pods.Attempt(1)
GPU = "nvidia.com/gpu"


def job_of(job: JobBuilder, attempt: pods.Attempt = FIRST, settings: Settings = SETTINGS) -> Object:
    resource = DinoJob(job.obj())
    return children.job(resource, spec_file.read_spec(resource), attempt, settings)


def pod_of(job: JobBuilder, attempt: pods.Attempt = FIRST, settings: Settings = SETTINGS) -> Object:
    return job_of(job, attempt, settings)["spec"]["template"]["spec"]


def requests(job: JobBuilder, attempt: pods.Attempt = FIRST) -> tuple[Object, Object]:
    found = pod_of(job, attempt)["containers"][0]["resources"]
    return found["requests"], found.get("limits", {})


def env(pod: Object) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in pod["containers"][0]["env"]}


def asks(**resources: object) -> JobBuilder:
    return a_job().spec(resources=resources)


def test_a_training_requests_its_limits() -> None:
    wished = {"cpu": "4", "memory": "16Gi", GPU: "1"}
    assert requests(asks(cpu="4", memory="16Gi")) == (wished, wished)


# GPUs, processes without them, workers, action: a node has at least 4 CPUs for each GPU.
CPUS = {
    "a GPU waits for its process and the workers": ((1, 1, 1, "train"), "2"),
    "more than two workers are the user's to ask for": ((1, 1, 8, "train"), "3"),
    "each GPU has its own": ((8, 1, 8, "train"), "24"),
    "without workers the process reads": ((2, 1, 0, "train"), "2"),
    "an evaluation reads as well": ((1, 1, 2, "evaluate"), "3"),
    "an export reads next to nothing": ((1, 1, 8, "export"), "1"),
    "a small training fits beside another one on two cores": ((0, 1, 1, "train"), "500m"),
    "and with more workers, too": ((0, 1, 8, "train"), "750m"),
    "several processes on CPUs": ((0, 4, 2, "train"), "3"),
    "never less than half a CPU": ((0, 1, 0, "train"), "500m"),
}


@pytest.mark.parametrize("sentence", CPUS)
def test_cpus_are_requested_and_not_limited_where_nobody_says(sentence: str) -> None:
    (gpus, processes, workers, action), expected = CPUS[sentence]
    job = job_to(action).spec(resources={"gpus": gpus, "processes": processes})
    job.experiment(dataset={"workers": workers})
    asked, limits = requests(job)
    assert asked["cpu"] == expected
    assert "cpu" not in limits


@pytest.mark.parametrize("each, gpus, expected", [("6", 2, "12"), ("250m", 0, "250m")])
def test_an_installation_may_say_how_many_cpus(each: str, gpus: int, expected: str) -> None:
    settings = Settings("trainer:1", cpu_per_process=each)
    pod = pod_of(asks(gpus=gpus), settings=settings)
    assert pod["containers"][0]["resources"]["requests"]["cpu"] == expected


def test_what_the_user_asks_for_is_requested_whatever_the_workers() -> None:
    assert requests(asks(cpu="300m").experiment(dataset={"workers": 8}))[0]["cpu"] == "300m"


def test_a_preflight_asks_for_no_gpu_and_for_little() -> None:
    limits = {"cpu": "16", "memory": "64Gi"}
    assert requests(asks(gpus=4, **limits), CHECK) == ({"cpu": "500m", "memory": "1Gi"}, limits)
    small = {"cpu": "200m", "memory": "512Mi"}
    assert requests(asks(gpus=4, **small), CHECK) == (small, small)
    assert requests(asks(gpus=4), CHECK) == ({"cpu": "500m"}, {})


@pytest.mark.parametrize(
    "text, expected",
    [("2", 2), ("500m", 0.5), ("1k", 1e3), ("1.5Gi", 1.5 * 2**30), ("1Ki", 1024), ("2E", 2e18)],
)
def test_quantities(text: str, expected: float) -> None:
    assert quantities.amount(text) == pytest.approx(expected)


def test_a_preflight_has_no_token_and_no_node_for_gpus() -> None:
    chosen = {
        "nodeSelector": {"gpu": "yes"},
        "runtimeClassName": "nvidia",
        "tolerations": [{"key": "gpu"}],
        "imagePullSecrets": [{"name": "regcred"}],
    }
    job = a_job().spec(podTemplate=chosen)
    check, train = pod_of(job, CHECK), pod_of(job)
    assert check["automountServiceAccountToken"] is False
    assert "token" not in {each["name"] for each in check["volumes"]}
    assert "DINO_TOKEN_DIR" not in env(check)
    assert check["containers"][0]["command"] == ["dino", "preflight", "-e", "/etc/dino/spec.yaml"]
    assert not {"nodeSelector", "runtimeClassName"} & check.keys()
    assert (check["tolerations"], check["imagePullSecrets"]) == tuple(
        chosen[key] for key in ("tolerations", "imagePullSecrets")
    )
    assert train["nodeSelector"] == {"gpu": "yes"}
    assert train["runtimeClassName"] == "nvidia"
    assert "token" in {each["name"] for each in train["volumes"]}


def test_without_gpus_the_check_runs_where_the_training_does() -> None:
    job = asks(gpus=0).spec(podTemplate={"nodeSelector": {"disk": "ssd"}})
    assert pod_of(job, CHECK)["nodeSelector"] == {"disk": "ssd"}


@pytest.mark.parametrize("attempt", [FIRST, CHECK])
def test_staged_data_is_kept_in_a_claim(attempt: pods.Attempt) -> None:
    own = a_job().spec(cache={"claimName": "mine"})
    for job, settings, claim in (
        (a_job(), SETTINGS, "data"),
        (own, SETTINGS, "mine"),
        (own, Settings("trainer:1"), "mine"),
    ):
        pod = pod_of(job, attempt, settings)
        (volume,) = (each for each in pod["volumes"] if each["name"] == "cache")
        assert volume["persistentVolumeClaim"] == {"claimName": claim}
        assert {"name": "cache", "mountPath": "/cache"} in pod["containers"][0]["volumeMounts"]
        assert env(pod)["DINO_CACHE_DIR"] == "/cache"
    without = pod_of(a_job(), attempt, Settings("trainer:1"))
    assert "DINO_CACHE_DIR" not in env(without)
    assert "cache" not in {each["name"] for each in without["volumes"]}


def test_several_pods_meet_at_the_first() -> None:
    job = asks(gpus=2, nodes=3)
    made = job_of(job, pods.Attempt(2))
    spec = made["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (3, 3, "Indexed")
    resource = DinoJob(job.obj())
    service = children.service(resource, spec_file.read_spec(resource))
    host = service["metadata"]["name"]
    pod = spec["template"]
    assert pod["spec"]["subdomain"] == host
    told = env(pod["spec"])
    assert told["DINO_NODES"] == "3"
    assert told["DINO_RDZV_ENDPOINT"] == f"x-train-2-0.{host}:29400"
    (meeting,) = (e for e in pod["spec"]["containers"][0]["env"] if e["name"] == "DINO_RDZV_ID")
    path = meeting["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['batch.kubernetes.io/controller-uid']"
    selector = service["spec"]["selector"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    assert (
        not selector.items() <= job_of(job, CHECK)["spec"]["template"]["metadata"]["labels"].items()
    )
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["metadata"]["ownerReferences"][0]["uid"] == "uid-x"


@pytest.mark.parametrize("action", [Action.EVALUATE, Action.INFERENCE])
def test_pods_that_share_images_meet_as_those_of_a_training(action: Action) -> None:
    job = job_to(action, resources={"gpus": 0, "nodes": 4})
    made = job_of(job)["spec"]
    assert (made["completions"], made["parallelism"], made["completionMode"]) == (4, 4, "Indexed")
    pod = made["template"]["spec"]
    told = env(pod)
    assert told["DINO_NODES"] == "4"
    assert told["DINO_RDZV_ENDPOINT"] == f"x-{action}-1-0.{pod['subdomain']}:29400"
    assert pod["containers"][0]["command"][:2] == ["dino", action]
    mapping = spec_file.read_spec(DinoJob(job.obj())).mapping
    assert mapping[action]["num_nodes"] == 4


def test_only_several_pods_get_a_service_and_the_check_is_one_pod() -> None:
    for job, attempt, wanted in (
        (asks(nodes=1), FIRST, False),
        (asks(nodes=2), CHECK, False),
        (asks(nodes=2), FIRST, True),
    ):
        resource = DinoJob(job.obj())
        made = children.inputs(resource, spec_file.read_spec(resource), attempt.preflight)
        assert ("Service" in {each["kind"] for each in made}) is wanted
        assert ("completionMode" in job_of(job, attempt)["spec"]) is wanted
        assert ("DINO_NODES" in env(pod_of(job, attempt))) is wanted


def test_one_of_several_pods_that_is_drained_ends_the_attempt_for_all() -> None:
    rules = {
        nodes: job_of(asks(nodes=nodes))["spec"]["podFailurePolicy"]["rules"] for nodes in (1, 2)
    }
    assert [rule["action"] for rule in rules[1]] == ["Ignore", "Ignore", "FailJob"]
    assert [rule["action"] for rule in rules[2]] == ["FailJob", "Ignore", "FailJob"]
    assert rules[2][0]["onPodConditions"][0]["type"] == "DisruptionTarget"


def test_only_what_trains_waits_in_a_queue() -> None:
    job = a_job().spec(queueName="gpus")
    train, check = job_of(job), job_of(job, CHECK)
    assert train["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert train["spec"]["suspend"] is True
    assert "kueue.x-k8s.io/queue-name" not in check["metadata"]["labels"]
    assert "suspend" not in check["spec"]


def test_the_processor_is_shared_by_the_processes() -> None:
    assert env(pod_of(asks(gpus=0, processes=2, cpu="5")))["OMP_NUM_THREADS"] == "2"
    assert env(pod_of(asks(gpus=4, cpu="2")))["OMP_NUM_THREADS"] == "1"
    assert env(pod_of(asks(gpus=4, cpu="2"), CHECK))["OMP_NUM_THREADS"] == "2"


def test_who_computes_on_a_cpu_has_no_holes_in_its_heap() -> None:
    assert env(pod_of(asks(gpus=0)))["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=0"
    for pod in (pod_of(asks(gpus=1)), pod_of(asks(gpus=0), CHECK)):
        assert "GLIBC_TUNABLES" not in env(pod)


def test_a_smaller_batch_is_told_to_the_pod_and_remembered_on_the_job() -> None:
    attempt = pods.Attempt(2, micro_batch=MicroBatch(2, 4, last_chance=True))
    made = job_of(a_job(), attempt)
    assert env(made["spec"]["template"]["spec"])["DINO_MICRO_BATCH"] == "2"
    notes = made["metadata"]["annotations"]
    assert notes[annotations.Annotation.MICRO_BATCH.value] == "2"
    assert notes[annotations.Annotation.ACCUMULATION.value] == "4"
    assert notes[annotations.Annotation.OUT_OF_MEMORY.value] == "true"


@pytest.mark.parametrize("name", ["x", "a" * 50, "my.dotted.job", "1st"])
@pytest.mark.parametrize("stage", ["train", "preflight"])
def test_names_of_jobs_make_host_names(name: str, stage: str) -> None:
    job, service = names.job_name(name, stage, 12), names.service_name(name, "uid")
    assert len(f"{job}-63") <= 63
    assert job.endswith(f"-{stage}-12")
    for each in (job, service):
        assert "." not in each
        assert len(each) <= 63
    assert service[0].isalpha(), "a Service's name begins with a letter"


def test_names_differ_where_the_resources_do() -> None:
    assert names.job_name("a.b", "train", 1) != names.job_name("a-b", "train", 1)
    assert names.service_name("a.b", "1") != names.service_name("a-b", "1")
    assert names.service_name("a", "1") != names.service_name("a", "2")


PROXY = (("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", ".svc"), ("DINO_JOB_NAME", "other"))
INSTALLED = Settings(
    "trainer:1", pull_secrets=("one", "two"), trainer_env=PROXY, ca_config_map="private-ca"
)
EACH_ATTEMPT = pytest.mark.parametrize("attempt", [CHECK, FIRST], ids=["preflight", "training"])


@EACH_ATTEMPT
def test_every_pod_is_pulled_and_set_as_the_installation_says(attempt: pods.Attempt) -> None:
    pod = pod_of(a_job(), attempt, INSTALLED)
    assert pod["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert env(pod)["HTTPS_PROXY"] == "http://proxy:3128"
    assert env(pod)["DINO_JOB_NAME"] == "x", "the operator's own variables stay"


@EACH_ATTEMPT
def test_the_object_store_is_trusted_by_the_installations_certificates(
    attempt: pods.Attempt,
) -> None:
    pod = pod_of(a_job(), attempt, INSTALLED)
    (volume,) = [each for each in pod["volumes"] if each["name"] == "ca"]
    assert volume["configMap"] == {"name": "private-ca"}
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "ca"]
    assert env(pod)["AWS_CA_BUNDLE"] == f"{mount['mountPath']}/ca.crt"
    assert mount["readOnly"]


def test_what_a_job_says_goes_before_the_installation() -> None:
    wished = {
        "env": [{"name": "NO_PROXY", "value": ".mine"}],
        "imagePullSecrets": [{"name": "mine"}],
    }
    pod = pod_of(a_job().spec(podTemplate=wished), FIRST, INSTALLED)
    variables = [each for each in pod["containers"][0]["env"] if each["name"] == "NO_PROXY"]
    assert variables == [{"name": "NO_PROXY", "value": ".mine"}]
    assert pod["imagePullSecrets"] == [{"name": "mine"}]


@EACH_ATTEMPT
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "HOME", "GLIBC_TUNABLES"])
def test_a_variable_that_a_job_sets_is_not_ours(attempt: pods.Attempt, name: str) -> None:
    """It was dropped without a word where the operator has a value for it, too."""
    job = asks(gpus=0, cpu="8").spec(podTemplate={"env": [{"name": name, "value": "1"}]})
    found = [each for each in pod_of(job, attempt)["containers"][0]["env"] if each["name"] == name]
    assert found == [{"name": name, "value": "1"}]


def test_a_variable_of_an_older_release_that_is_ours_stays_ours() -> None:
    """Admission refuses its prefix; the operator does not take it from whoever got past that."""
    job = a_job().spec(podTemplate={"env": [{"name": "DINO_JOB_NAME", "value": "other"}]})
    assert env(pod_of(job))["DINO_JOB_NAME"] == "x"
