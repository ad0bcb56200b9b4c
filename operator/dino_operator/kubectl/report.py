"""`kubectl dino report`: the pages that a job left in its output, saved or opened."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dino_api.names import (
    AUTOML_KIND,
    KIND,
    PICTURE_FILE,
    REPORT_FILE,
    Action,
    Env,
    Label,
    Stage,
)
from dino_operator.kubectl.cluster import Cluster, add_cluster, add_job
from dino_operator.kubectl.ending import CANNOT_CREATE, NO_INPUT, NO_PERMISSION, USAGE, CommandExit
from dino_operator.kubectl.stored import (
    AMAZON,
    Access,
    ObjectStore,
    StoreAccessError,
    access_of,
    pod_environment,
    secret_name,
)
from dino_operator.kubectl.terminal import add_folder, add_output, print_data
from dino_operator.plan.model import Object

DESCRIPTION = """\
The pages and pictures that a job or search left in its output: what the data check found, what an
evaluation, a quantization, an inference or a search has to show. They are saved in this folder.
"""
EPILOG = """\
examples:
  kubectl dino report cells                  save every page that is there
  kubectl dino report cells --open           and open them in a browser
  kubectl dino report cells --to pages -o json
  kubectl dino report cells --secret         with the keys of the job's Secret
  kubectl dino report cells --endpoint http://localhost:9000

The output is read from this machine, with its credentials, as of the AWS CLI (environment, profile,
AWS_PROFILE, SSO). Where the object store is and how it is addressed is taken from the job's pods.
--secret reads the Secret that they use; Kubernetes asks for the right to do so.
"""
_PAGES = (".html", ".png")
_TRIALS = 20
"""Of so many of a search the Jobs are asked for."""


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The command's options."""
    made = commands.add_parser(
        "report",
        help="save or open the pages that a job left",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add_job(made)
    add_folder(made)
    made.add_argument("--open", action="store_true", help="open them in a browser")
    made.add_argument(
        "--endpoint",
        default="",
        metavar="URL",
        help=f"of S3, as this machine sees it; {AMAZON} for Amazon's",
    )
    made.add_argument("--secret", action="store_true", help="take the keys of the job's Secret")
    add_output(made)
    add_cluster(made)
    made.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Saves them and says where. Raises CommandExit."""
    cluster = Cluster(options)
    resource = cluster.get(options.job)
    name = resource["metadata"]["name"]
    store = ObjectStore(_access(cluster, resource, options), options.job)
    texts, refused = _read(store, pages(resource))
    if not texts:
        raise next(iter(refused.values()), CommandExit(NO_INPUT, nothing_message(resource)))
    for uri in _named(resource):
        if uri in refused:
            print(f"kubectl-dino: {refused[uri]}", file=sys.stderr)
    saved = [
        {"uri": uri, "file": str(_save(text, options.to / file_name(resource, uri)))}
        for uri, text in texts.items()
    ]
    if options.output:
        print_data(saved, options.output)
    else:
        for each in saved:
            print(f"{name}: {each['file']}")
    for each in saved if options.open else ():
        webbrowser.open(Path(each["file"]).resolve().as_uri())
    return 0


def _read(store: ObjectStore, uris: list[str]) -> tuple[dict[str, bytes], dict[str, CommandExit]]:
    """The pages that are there, and what was said of those that may not be read: a refusal may
    only mean that there is none, so that the others are still asked for. Raises CommandExit."""
    texts: dict[str, bytes] = {}
    refused: dict[str, CommandExit] = {}
    for uri in uris:
        try:
            text = store.read(uri)
        except StoreAccessError as end:
            refused[uri] = end
        else:
            texts |= {} if text is None else {uri: text}
    return texts, refused


def output_of(resource: Object) -> str:
    """The folder of its results, without a slash at its end."""
    spec = resource["spec"].get("template") or resource["spec"]
    return str(spec["output"]["uri"]).rstrip("/")


def pages(resource: Object) -> list[str]:
    """The URIs at which pages may lie: those that the status names, and the usual places."""
    usual = [f"{output_of(resource)}/{place}" for place in _places(resource)]
    return list(dict.fromkeys((*_named(resource), *usual)))


def _named(resource: Object) -> list[str]:
    """The pages that the status names."""
    listed = (resource.get("status") or {}).get("artifacts") or ()
    return [each["uri"] for each in listed if each["uri"].endswith(_PAGES)]


def _places(resource: Object) -> Iterator[str]:
    if resource["kind"] == AUTOML_KIND or (resource.get("status") or {}).get("automl"):
        yield REPORT_FILE
        return
    action = resource["spec"].get("action", Action.TRAIN.value)
    folder = Stage.PREFLIGHT.value
    yield f"{folder if action == Action.TRAIN else f'{action}/{folder}'}/{REPORT_FILE}"
    for name in (REPORT_FILE, PICTURE_FILE):
        yield f"{action}/{name}"


def file_name(resource: Object, uri: str) -> str:
    """The job and the place below its output: cells-preflight-report.html."""
    below = uri.removeprefix(f"{output_of(resource)}/").removeprefix("s3://")
    return f"{resource['metadata']['name']}-{below.replace('/', '-')}"


def nothing_message(resource: Object) -> str:
    """Why there is no page."""
    name, asked = resource["metadata"]["name"], ", ".join(pages(resource))
    phase = (resource.get("status") or {}).get("phase") or "not looked at yet"
    return (
        f"{resource['kind']} {name} ({phase}) has left no page so far: there is none of {asked}. "
        f"kubectl dino status {name} says how far it is."
    )


def _access(cluster: Cluster, resource: Object, options: argparse.Namespace) -> Access:
    """Raises CommandExit where nothing says which object store the installation has."""
    jobs = _jobs(cluster, resource)
    pods, spec = pod_environment(jobs), resource["spec"]
    access = access_of(pods, spec, options.endpoint, os.environ)
    if not (jobs or access.endpoint or options.endpoint):
        name = resource["metadata"]["name"]
        raise CommandExit(
            USAGE,
            f"The pods of {name} are gone, and with them the address of the object store. Give "
            f"--endpoint URL, or --endpoint {AMAZON} where the output is in Amazon's S3.",
        )
    return replace(access, keys=_keys(cluster, pods, resource)) if options.secret else access


def _jobs(cluster: Cluster, resource: Object) -> list[Object]:
    """Its Jobs, and where it is a search, or one runs for it, those of the search."""
    status, uid = resource.get("status") or {}, resource["metadata"]["uid"]
    if resource["kind"] == AUTOML_KIND:
        return _jobs_of_search(cluster, uid)
    jobs = cluster.jobs(f"{Label.JOB_UID.value}={uid}")
    if jobs or not status.get("automl"):
        return jobs
    try:
        search = cluster.get(f"{AUTOML_KIND.lower()}/{status['automl']}")
    except CommandExit as end:
        if end.status != NO_INPUT:
            raise
        return []  # it was deleted; the pages may be there
    return _jobs_of_search(cluster, search["metadata"]["uid"])


def _jobs_of_search(cluster: Cluster, uid: str) -> list[Object]:
    """Where a search has none of its own, those of its trials."""
    label = Label.AUTOML_UID.value
    if jobs := cluster.jobs(f"{label}={uid}"):
        return jobs
    trials = (each["metadata"] for each in cluster.all_of(KIND))
    uids = [each["uid"] for each in trials if (each.get("labels") or {}).get(label) == uid]
    return cluster.jobs(f"{Label.JOB_UID.value} in ({','.join(uids[-_TRIALS:])})") if uids else []


def _keys(cluster: Cluster, pods: Mapping[str, Any], resource: Object) -> tuple[str, str]:
    """Of the Secret that the pods use. Raises CommandExit."""
    name = secret_name(pods, resource["spec"])
    if not name:
        message = "The job's pods have no Secret for the object store, or none that is known here."
        raise CommandExit(NO_PERMISSION, f"{message} Leave --secret out, and give keys of yours.")
    held = cluster.secret(name)
    if lacking := [each for each in (Env.S3_ACCESS_KEY, Env.S3_SECRET_KEY) if each not in held]:
        raise CommandExit(NO_PERMISSION, f"Secret {name} lacks {' and '.join(lacking)}.")
    return held[Env.S3_ACCESS_KEY], held[Env.S3_SECRET_KEY]


def _save(text: bytes, path: Path) -> Path:
    """Raises CommandExit."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    except OSError as error:
        raise CommandExit(CANNOT_CREATE, f"{path} cannot be written: {error.strerror}.") from error
    return path
