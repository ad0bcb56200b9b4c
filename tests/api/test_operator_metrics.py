"""What the operator's metrics say of single jobs, before a real API server and over its own end."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from dino_api import rfc3339
from tests.api.operator_cluster import RESULT, Cluster, a_manifest, condition_of
from tests.api.operator_process import Process, eventually
from tests.builders import stamp

NAME = "costly"


def value(operator: Process, cluster: Cluster, name: str) -> float | None:
    """Of the job's series of that name; None where there is none."""
    labels = f'{{job_name="{NAME}",job_namespace="{cluster.namespace}"}} '
    series = re.escape(f"dino_job_{name}{labels}")
    found = re.search(rf"^{series}(\S+)$", operator.read("metrics"), re.M)
    return float(found[1]) if found else None


def shows(operator: Process, cluster: Cluster, name: str, expected: float) -> None:
    """Waits for that value."""
    eventually(
        lambda: value(operator, cluster, name) == expected,
        lambda: f"{name} {expected}: {value(operator, cluster, name)}",
    )


def a_later_second(than: datetime) -> datetime:
    """Now, in whole seconds, once it is not that second any more."""
    eventually(lambda: stamp() > rfc3339.text(than), "the next second")
    return datetime.now(UTC).replace(microsecond=0)


def test_gpu_seconds_go_on_over_a_kill_of_the_operator(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest(NAME, resources={"gpus": 2}))
    cluster.phase(NAME, "Queued")
    shows(operator, cluster, "gpu_seconds_total", 0)
    pod = cluster.run(f"{NAME}-train-1")
    running = condition_of(cluster.phase(NAME, "Running"), "Running")
    began = rfc3339.parse(running["lastTransitionTime"])
    spoke = a_later_second(began)
    progress = {"epoch": 1, "mAP50": 0.5, "stagingSeconds": 7.5}
    progress = {**progress, "updatedAt": rfc3339.text(spoke)}
    cluster.dinojobs.patch_status(NAME, {"progress": progress})
    shows(operator, cluster, "best_map50", 0.5)
    spent = 2 * (spoke - began).total_seconds()
    shows(operator, cluster, "gpu_seconds_total", spent)

    operator.kill()
    operator.start()
    shows(operator, cluster, "gpu_seconds_total", spent)
    cluster.finish(pod, message=RESULT)
    done = cluster.phase(NAME, "Complete")["status"]
    assert done["gpuSeconds"] >= spent
    shows(operator, cluster, "gpu_seconds_total", done["gpuSeconds"])
    assert done["progress"]["stagingSeconds"] == 7.5, "the API server keeps what the pod tells"
    # The end may be seen before its own write is answered, and is counted by the answer.
    counted = "dino_job_staging_seconds_sum 7.5"
    eventually(lambda: counted in operator.read("metrics"), "the staging counted")
