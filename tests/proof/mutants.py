"""Seeded faults of the operator: small patches of its source, each killed by the test it names.

`python -m tests.proof.mutants` tries all and prints the table; `--only NAME,NAME` tries some. Each
runs on a copy of the package, in a process of its own. A patch whose text is not found any more, or
a copy that cannot be imported, is an error: it proves nothing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.patience import Patience

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "operator" / "dino_operator"
HEAVY = (
    "aiohttp",
    "dino_api.generate",
    "hypothesis.stateful",
    "kopf",
    "kubernetes.aio",
    "prometheus_client",
    "pydantic",
    "pytest",
    "pytest_asyncio",
)
"""What every run imports, and no mutant changes: it is imported once, before the processes part."""
KILLED, SURVIVED, STRANGE = "killed", "survived", "error"
NOT_OF_THE_COPY = 99
LIMIT = 300.0
"""Seconds of an idle machine after which a test hangs, which is an error, not a death."""

JOB = "test_plan_model.py"
NAMESPACE = "test_namespace_model.py"
CARRIED_OUT = "test_runtime_reconcile.py"
CONCURRENT = "test_concurrent_model.py"
OPEN_REQUESTS = "test_runtime_open_requests.py"


@dataclass(frozen=True)
class Mutant:
    """A fault: in which file of the package, what stands there, what stands there instead.

    test: the file of tests/unit, or one test of it, that has to notice.
    """

    name: str
    file: str
    old: str
    new: str
    test: str

    def seed(self, package: Path) -> None:
        """Patches the copy. Raises ValueError where the text is not there exactly once."""
        path = package / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            found = f"{text.count(self.old)} times in {self.file}"
            raise ValueError(f"mutant {self.name}: its text stands {found}; say what it is now")
        path.write_text(text.replace(self.old, self.new))


MUTANTS = (
    Mutant(
        "children of a namesake are ours",
        "plan/observed/job_view.py",
        "return [job for job in self.children.jobs if job.controller_uid == self.uid]",
        "return list(self.children.jobs)",
        "test_plan_job.py",
    ),
    Mutant(
        "the namesake's Job is not waited for",
        "plan/job/decide.py",
        "    for job in view.other_jobs:\n",
        "    for job in ():\n",
        "test_plan_job.py",
    ),
    Mutant(
        "a pod that still ends is not waited for",
        "plan/job/decide.py",
        "    if view.live_pods:\n",
        "    if False:\n",
        JOB,
    ),
    Mutant(
        "the cache is trusted for what cannot be taken back",
        "runtime/reconcile.py",
        "        if decision.plan.irrevocable:\n",
        "        if False:\n",
        CARRIED_OUT,
    ),
    Mutant(
        "work after the end",
        "plan/job/decide.py",
        "    if view.resource.is_finished:\n        return _after_the_end(view)\n",
        "",
        JOB,
    ),
    Mutant(
        "good data is checked again",
        "plan/observed/job_view.py",
        "        if known or self.preflight or self.checked_by or not self.reads_data:\n",
        "        if self.checked_by or not self.reads_data:\n",
        JOB,
    ),
    Mutant(
        "names of Jobs are random",
        "plan/rendered/names.py",
        '    tail = f"-{_dashed(stage)}-{attempt}"\n',
        '    tail = f"-{_dashed(stage)}-{attempt}-{id([]) % 9999}"\n',
        CARRIED_OUT,
    ),
    Mutant(
        "a lost answer is a failure",
        "runtime/writes.py",
        "            if error.exists:\n",
        "            if False:\n",
        "test_runtime_reconcile.py",
    ),
    Mutant(
        "a stranger's object is taken for ours",
        "runtime/writes.py",
        "        if objects.controller_uid(present) != objects.uid_of(resource):\n",
        "        if False:\n",
        CARRIED_OUT,
    ),
    Mutant(
        "the last word before the pods have gone",
        "plan/job/stop.py",
        "    if view.own_live_pods or not going.is_empty or news:\n",
        "    if not going.is_empty or news:\n",
        "test_plan_stop.py",
    ),
    Mutant(
        "lost words are not read again",
        "plan/job/late_result.py",
        "    if reader is None:\n        return _missing(view, job, result)\n",
        '    if reader is None:\n        return ResultReading(result, problem="lost")\n',
        "test_plan_late.py",
    ),
    Mutant(
        "a status on each look",
        "plan/reported/conditions.py",
        "    return None if ours(resource) == desired else desired\n",
        "    return desired\n",
        JOB,
    ),
    Mutant(
        "every failure is tried again",
        "plan/job/decide.py",
        '    if cause.rule.retry == "never":\n',
        "    if False:\n",
        "test_plan_retry.py",
    ),
    Mutant(
        "retries without end",
        "plan/job/decide.py",
        "    if attempt.retries > view.max_retries:\n",
        "    if False:\n",
        "test_plan_retry.py",
    ),
    Mutant(
        "late events win",
        "runtime/cache.py",
        "            if version_of(present) >= version_of(thing):\n                return False\n",
        "",
        "test_runtime_cache.py",
    ),
    Mutant(
        "the deleted come back",
        "runtime/cache.py",
        '        if thing["metadata"]["uid"] in self._deleted or not keys_of(kind, thing):\n',
        "        if not keys_of(kind, thing):\n",
        "test_runtime_cache.py",
    ),
    Mutant(
        "a resync leaves ghosts",
        "runtime/cache.py",
        "                    self._drop(kind, thing)\n        return ghosts\n",
        "        return ghosts\n",
        JOB,
    ),
    Mutant(
        "what comes while a key is worked on is forgotten",
        "runtime/queue.py",
        "            self._again.add(key)\n",
        "            pass\n",
        "test_runtime_queue.py",
    ),
    Mutant(
        "no look again after a conflict",
        "runtime/reconcile.py",
        "            if error.status in MOVED:  # the cache",
        "            if False:  # the cache",
        CARRIED_OUT,
    ),
    Mutant(
        "one trial too many",
        "plan/search/engines/embedded.py",
        "    room = view.search.parallel_trials - sum(each.is_live for each in trials)\n",
        "    room = 1 + view.search.parallel_trials - sum(each.is_live for each in trials)\n",
        NAMESPACE,
    ),
    Mutant(
        "trials after the end of the search",
        "plan/search/decide.py",
        "    if view.is_over:\n        return completion.the_search(view)\n",
        "",
        NAMESPACE,
    ),
    Mutant(
        "the search does not wait for its trials",
        "plan/search/decide.py",
        "    over = not jobs and (step.ended or step.failure is not None)\n",
        "    over = True\n",
        "test_search_plan_life.py",
    ),
    Mutant(
        "the end of a search is told from the cache",
        "plan/model.py",
        "        end = self.is_last_word or self.ends_trials\n",
        "        end = self.is_last_word\n",
        "test_search_plan_ends.py",
    ),
    Mutant(
        "a trial that comes after the end trains",
        "plan/search/after/completion.py",
        "    return replace(planned, patches=(*late, *planned.patches))\n",
        "    return planned\n",
        "test_search_plan_ends.py",
    ),
    Mutant(
        "a parent that failed is waited for",
        "plan/job/awaits_parent.py",
        "        if parent_state.condition.reason == reason:\n",
        "        if False:\n",
        "test_plan_parent.py",
    ),
    Mutant(
        "the end of a parent is told from the cache",
        "runtime/reconcile.py",
        "if thing is not None and (awaited or not ApiObject(thing).is_finished)\n",
        "if thing is not None and not ApiObject(thing).is_finished\n",
        "test_exhaustive_model.py",
    ),
    Mutant(
        "a search that is not understood ends before its trials",
        "plan/search/decide.py",
        "    if stopping := completion.stopping(resource, children):\n",
        "    if (stopping := completion.stopping(resource, children)) and False:\n",
        "test_search_plan_ends.py",
    ),
    Mutant(
        "a deleted trial is not made again",
        "plan/search/trials/dinojobs.py",
        "    room = max(0, view.search.parallel_trials - len(here))\n",
        "    room = 0\n",
        NAMESPACE,
    ),
    Mutant(
        "the Lease is not looked at before a write",
        "runtime/lease.py",
        "        if not self.leads:\n            self._end(",
        "        if False:\n            self._end(",
        "test_runtime_lease.py",
    ),
    Mutant(
        "a status goes to whatever version there is",
        "runtime/client.py",
        '("name", "namespace", "uid", "resourceVersion")',
        '("name", "namespace", "uid")',
        CONCURRENT,
    ),
    Mutant(
        "a key is in two hands",
        "runtime/queue.py",
        "        self._working.add(key)\n",
        "",
        CONCURRENT,
    ),
    Mutant(
        "it stops before what it has sent is answered",
        "runtime/loop.py",
        "        await self._client.finish_writes()\n",
        "",
        CONCURRENT,
    ),
    Mutant(
        "a plan is carried out for what has changed since",
        "runtime/reconcile.py",
        "        return not self.plan.is_empty and _identity(self.resource) != _identity(known)\n",
        "        return False\n",
        OPEN_REQUESTS,
    ),
    Mutant(
        "what a late answer may bring back is forgotten",
        "runtime/loop.py",
        "forget_deleted(min(self._listed.values(), default=0))",
        "forget_deleted(min(listed.values(), default=0))",
        OPEN_REQUESTS,
    ),
)
IN_MAKE_TEST = (
    "the cache is trusted for what cannot be taken back",
    "work after the end",
    "late events win",
    "what comes while a key is worked on is forgotten",
)
"""A few that are tried by every `make test`."""


@dataclass(frozen=True)
class Judgement:
    """What became of a mutant, and how long it took."""

    mutant: Mutant
    what: str
    seconds: float
    said: str

    def __str__(self) -> str:
        row = f"{self.what:9} {self.seconds:6.1f} s  {self.mutant.name}"
        return f"{row:75} {self.mutant.file:40} {self.mutant.test}"


def table() -> str:
    """The mutants as docs/reliability.md has them."""
    rows = [f"| {each.name} | `{each.file}` | `{each.test}` |" for each in MUTANTS]
    return "\n".join(["| Fault | In | Noticed by |", "|---|---|---|", *rows])


def tried(mutant: Mutant) -> Judgement:
    """Runs its test on a copy of the package. Without its text there it is an error."""
    with tempfile.TemporaryDirectory(prefix="dino-mutant-") as folder:
        copy = Path(folder) / PACKAGE.name
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            mutant.seed(copy)
        except ValueError as error:
            return Judgement(mutant, STRANGE, 0.0, str(error))
        started, log = time.monotonic(), Path(folder) / "log"
        child = os.fork()
        if not child:
            _become(Path(folder), log, mutant.test)
        what = {0: SURVIVED, 1: KILLED}.get(_code(child), STRANGE)
        return Judgement(mutant, what, time.monotonic() - started, log.read_text()[-3000:])


def _code(child: int) -> int:
    """Its exit status; it is killed where it hangs."""
    waiting = Patience(LIMIT)
    while waiting.lasts():
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become(folder: Path, log: Path, test: str) -> None:
    """The process of one mutant; it does not return."""
    with log.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    code = NOT_OF_THE_COPY
    try:
        os.chdir(ROOT)
        sys.path.insert(0, str(folder))
        code = int(_pytest(test))
        import dino_operator

        if Path(dino_operator.__file__).parent.parent != folder:
            code = NOT_OF_THE_COPY
    finally:
        sys.stdout.flush()
        os._exit(code)


def _pytest(test: str) -> int:
    import pytest

    os.environ["DINO_MODEL_SHRINK"] = "0"
    words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return pytest.main([*words, str(ROOT / "tests" / "unit" / test)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status: 1 where one survives or cannot be tried."""
    known = argparse.ArgumentParser(description=__doc__)
    known.add_argument("--only", default="", help="names of mutants, with commas")
    chosen = known.parse_args(arguments).only
    names = [each for each in chosen.split(",") if each]
    unknown = set(names) - {each.name for each in MUTANTS}
    if unknown:
        known.error(f"no mutant {', '.join(sorted(unknown))}")
    for module in HEAVY:
        importlib.import_module(module)
    assert "dino_operator" not in sys.modules, "it would be in every copy's place"
    wrong = 0
    for mutant in MUTANTS:
        if names and mutant.name not in names:
            continue
        judged = tried(mutant)
        print(judged, flush=True)
        if judged.what != KILLED:
            wrong += 1
            print(judged.said, flush=True)
    print(f"{len(names or MUTANTS) - wrong} of {len(names or MUTANTS)} mutants killed")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
