"""Late, double and disordered deliveries, and what a list says of them."""

from __future__ import annotations

from typing import Any

from dino_operator.runtime.cache import Cache
from dino_operator.runtime.keys import Key, Kind, key_of, keys_of
from tests.builders import a_child, a_job, a_pod

KEY = Key(Kind.DINOJOBS, "team", "x")


def a_pod_at(version: int, phase: str = "Pending", uid: str = "u") -> dict[str, Any]:
    pod = a_pod(a_child(a_job())).uid(uid).obj()
    pod["metadata"]["resourceVersion"] = str(version)
    pod["status"]["phase"] = phase
    return pod


def phases(cache: Cache) -> list[str]:
    return [pod["status"]["phase"] for pod in cache.children(KEY).pods]


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = Cache()
    assert cache.put(Kind.PODS, a_pod_at(5, "Running"))
    assert not cache.put(Kind.PODS, a_pod_at(4))
    assert not cache.put(Kind.PODS, a_pod_at(5))
    assert phases(cache) == ["Running"]


def test_what_was_deleted_does_not_come_back() -> None:
    cache = Cache()
    cache.put(Kind.PODS, a_pod_at(5))
    cache.remove(Kind.PODS, a_pod_at(6))
    assert not cache.put(Kind.PODS, a_pod_at(7))
    assert phases(cache) == []


def test_a_late_deletion_leaves_the_namesake() -> None:
    cache = Cache()
    cache.put(Kind.PODS, a_pod_at(9, "Running", uid="new"))
    cache.remove(Kind.PODS, a_pod_at(6, uid="old"))
    assert phases(cache) == ["Running"]


def test_a_list_drops_ghosts_and_keeps_what_is_newer() -> None:
    cache = Cache()
    cache.put(Kind.PODS, a_pod_at(5))
    assert cache.replace(Kind.PODS, [], version=4) == set(), "made after the list was"
    assert cache.replace(Kind.PODS, [], version=5) == {KEY}
    assert phases(cache) == []


def test_a_list_of_one_key_leaves_the_others() -> None:
    cache = Cache()
    cache.put(Kind.PODS, a_pod_at(5))
    assert cache.replace(Kind.PODS, [], version=9, keys={Key(Kind.DINOJOBS, "team", "y")}) == set()
    assert phases(cache) == ["Pending"]


def test_deletions_are_forgotten_with_time() -> None:
    cache = Cache()
    cache.remove(Kind.PODS, a_pod_at(6))
    cache.forget_deleted(before=5)
    assert not cache.put(Kind.PODS, a_pod_at(4))
    cache.forget_deleted(before=6)
    assert cache.put(Kind.PODS, a_pod_at(4))


def test_shared_objects_are_known_by_namespace_until_forgotten() -> None:
    cache = Cache()
    cache.know("team", "ServiceAccount", "dino-trainer")
    assert cache.children(KEY).known == {("ServiceAccount", "dino-trainer")}
    assert cache.children(Key(Kind.DINOJOBS, "other", "x")).known == frozenset()
    cache.forget_known()
    assert cache.children(KEY).known == frozenset()


def test_a_job_and_its_children_share_a_key_however_long_the_name() -> None:
    job = a_job("n" * 100)
    child = a_child(job)
    own = (key_of(Kind.DINOJOBS, job.obj()),)
    assert keys_of(Kind.JOBS, child.obj()) == own
    assert keys_of(Kind.PODS, a_pod(child).obj()) == own


def test_templates_are_not_kept() -> None:
    cache = Cache()
    cache.put(Kind.JOBS, a_child(a_job()).spec(template={"spec": {}}, suspend=True).obj())
    assert cache.children(KEY).jobs[0]["spec"] == {"suspend": True}
