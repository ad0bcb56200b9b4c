"""Late, double and disordered deliveries, and what a list says of them."""

from __future__ import annotations

import gc
from typing import Any

from dino_operator.runtime.cache import ObjectCache
from dino_operator.runtime.keys import Key, Kind, key_of, keys_of
from dino_operator.runtime.trim import trim
from tests.builders import a_child, a_job, a_pod, owned_by
from tests.unit.plan_searches import a_search_for

KEY = Key(Kind.DINOJOBS, "team", "x")


def a_pod_at(version: int, phase: str = "Pending", uid: str = "u") -> dict[str, Any]:
    pod = a_pod(a_child(a_job())).uid(uid).obj()
    pod["metadata"]["resourceVersion"] = str(version)
    pod["status"]["phase"] = phase
    return pod


def phases(cache: ObjectCache) -> list[str]:
    return [pod.phase for pod in cache.children(KEY).pods]


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = ObjectCache()
    assert cache.put(Kind.PODS, a_pod_at(5, "Running"))
    assert not cache.put(Kind.PODS, a_pod_at(4))
    assert not cache.put(Kind.PODS, a_pod_at(5))
    assert phases(cache) == ["Running"]


def test_what_was_deleted_does_not_come_back() -> None:
    cache = ObjectCache()
    cache.put(Kind.PODS, a_pod_at(5))
    cache.remove(Kind.PODS, a_pod_at(6))
    assert not cache.put(Kind.PODS, a_pod_at(7))
    assert phases(cache) == []


def test_a_late_deletion_leaves_the_namesake() -> None:
    cache = ObjectCache()
    cache.put(Kind.PODS, a_pod_at(9, "Running", uid="new"))
    cache.remove(Kind.PODS, a_pod_at(6, uid="old"))
    assert phases(cache) == ["Running"]


def test_a_list_drops_ghosts_and_keeps_what_is_newer() -> None:
    cache = ObjectCache()
    cache.put(Kind.PODS, a_pod_at(5))
    assert cache.replace(Kind.PODS, [], version=4) == set(), "made after the list was"
    assert cache.replace(Kind.PODS, [], version=5) == {KEY}
    assert phases(cache) == []


def test_a_list_of_one_key_leaves_the_others() -> None:
    cache = ObjectCache()
    cache.put(Kind.PODS, a_pod_at(5))
    assert cache.replace(Kind.PODS, [], version=9, keys={Key(Kind.DINOJOBS, "team", "y")}) == set()
    assert phases(cache) == ["Pending"]


def dicts_of(phase: str) -> int:
    """How many dicts a hundred pods are kept in."""
    gc.collect()  # what others have left may go at any time, and would be counted
    cache, before = ObjectCache(), sum(type(each) is dict for each in gc.get_objects())
    for number in range(100):
        pod = a_pod_at(5, phase, uid=f"u{number}")
        pod["metadata"]["name"] = f"p{number}"
        assert cache.put(Kind.PODS, pod)
    after = sum(type(each) is dict for each in gc.get_objects())
    assert len(phases(cache)) == 100
    return after - before


def test_pods_that_have_ended_are_kept_packed_and_read_as_before() -> None:
    pod = a_pod_at(5, "Succeeded")
    cache = ObjectCache()
    cache.put(Kind.PODS, pod)
    (kept,) = cache.children(KEY).pods
    assert kept.raw == trim(Kind.PODS, pod)
    assert dicts_of("Succeeded") < 20 < 200 < dicts_of("Running")
    cache.put(Kind.PODS, a_pod_at(6, "Running"))
    assert phases(cache) == ["Running"]


def test_deletions_are_forgotten_with_time() -> None:
    cache = ObjectCache()
    cache.remove(Kind.PODS, a_pod_at(6))
    cache.forget_deleted(before=5)
    assert not cache.put(Kind.PODS, a_pod_at(4))
    cache.forget_deleted(before=6)
    assert cache.put(Kind.PODS, a_pod_at(4))


def test_shared_objects_are_known_by_namespace_until_forgotten() -> None:
    cache = ObjectCache()
    cache.know(
        {"kind": "ServiceAccount", "metadata": {"namespace": "team", "name": "dino-trainer"}}
    )
    assert cache.children(KEY).known == {("ServiceAccount", "dino-trainer")}
    assert cache.children(Key(Kind.DINOJOBS, "other", "x")).known == frozenset()
    cache.forget_known()
    assert cache.children(KEY).known == frozenset()


def test_what_a_resource_controls_is_known_to_its_own_plans_alone() -> None:
    """With thousands of jobs, each plan would look at what all of them have."""
    cache = ObjectCache()
    one, other = a_job("one"), a_job("other")
    for job in (one, other):
        cache.put(Kind.DINOJOBS, job.obj())
        meta = {"name": f"{job.meta['name']}-spec", "namespace": "team"}
        cache.know({"kind": "ConfigMap", "metadata": {**meta, "ownerReferences": [owned_by(job)]}})
    key = key_of(Kind.DINOJOBS, one.obj())
    assert cache.children(key).known == {("ConfigMap", "one-spec")}
    cache.remove(Kind.DINOJOBS, one.obj())
    cache.put(Kind.DINOJOBS, a_job("one").uid("later").obj())
    assert cache.children(key).known == frozenset()


def test_a_job_and_its_children_share_a_key_however_long_the_name() -> None:
    job = a_job("n" * 100)
    child = a_child(job)
    own = (key_of(Kind.DINOJOBS, job.obj()),)
    assert keys_of(Kind.JOBS, child.obj()) == own
    assert keys_of(Kind.PODS, a_pod(child).obj()) == own


def test_templates_are_not_kept() -> None:
    cache = ObjectCache()
    cache.put(Kind.JOBS, a_child(a_job()).spec(template={"spec": {}}, suspend=True).obj())
    assert cache.children(KEY).jobs[0].raw["spec"] == {"suspend": True}


def test_a_trial_is_seen_by_its_search_and_is_not_its_own_child() -> None:
    cache = ObjectCache()
    trial = a_job("x-trial-1").obj()
    trial["metadata"]["labels"] = {"dino-operator.io/automl": "x"}
    cache.put(Kind.DINOJOBS, trial)
    seen = cache.children(Key(Kind.DINOAUTOMLS, "team", "x"))
    assert [each.name for each in seen.dinojobs] == ["x-trial-1"]
    own = Key(Kind.DINOJOBS, "team", "x-trial-1")
    assert cache.resource(own) is not None
    assert cache.children(own).dinojobs == ()


def test_a_search_is_seen_by_the_job_that_it_was_made_for() -> None:
    cache = ObjectCache()
    search = a_search_for(a_job()).obj()
    cache.put(Kind.DINOAUTOMLS, search)
    assert [each.kind for each in cache.children(KEY).automls] == ["DinoAutoML"]
    assert cache.replace(Kind.DINOAUTOMLS, [], version=9, keys={KEY}) == {
        KEY,
        Key(Kind.DINOAUTOMLS, "team", "x"),
    }
    assert cache.children(KEY).automls == ()
    assert cache.all_keys() == set()


def test_a_label_that_is_taken_away_counts() -> None:
    cache = ObjectCache()
    pod = a_pod_at(5)
    cache.put(Kind.PODS, pod)
    moved = a_pod_at(6)
    moved["metadata"]["labels"]["dino-operator.io/job"] = "y"
    cache.put(Kind.PODS, moved)
    assert phases(cache) == []
    assert len(cache.children(Key(Kind.DINOJOBS, "team", "y")).pods) == 1


def test_parents_are_seen_up_to_the_first_with_the_searches_for_them() -> None:
    cache = ObjectCache()
    cache.put(Kind.DINOJOBS, a_job().spec(parent={"name": "base"}).obj())
    cache.put(Kind.DINOJOBS, a_job("base").spec(parent={"name": "first"}).obj())
    cache.put(Kind.DINOJOBS, a_job("first").spec(parent={"name": "x"}).obj())
    cache.put(Kind.DINOAUTOMLS, a_search_for(a_job("base")).obj())
    assert set(cache.children(KEY).others) == {
        ("DinoJob", "base"),
        ("DinoJob", "first"),
        ("DinoAutoML", "base"),
    }


def test_the_end_of_a_parent_wakes_who_waits_for_it() -> None:
    cache = ObjectCache()
    heir = a_job("heir").spec(parent={"kind": "DinoAutoML", "name": "x"}).obj()
    cache.put(Kind.DINOJOBS, heir)
    search = a_search_for(a_job()).obj()
    waits = Key(Kind.DINOJOBS, "team", "heir")
    assert waits in cache.wakes(Kind.DINOAUTOMLS, search)
    cache.remove(Kind.DINOJOBS, heir)
    assert waits not in cache.wakes(Kind.DINOAUTOMLS, search)


def test_notes_of_others_are_not_kept() -> None:
    cache = ObjectCache()
    job = a_job().obj()
    ours = {"dino-operator.io/data-checked-by": "x-trial-0"}
    job["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied": "…", **ours}
    cache.put(Kind.DINOJOBS, job)
    kept = cache.resource(KEY)
    assert kept is not None
    assert kept["metadata"]["annotations"] == ours
