"""What the commands ask the API server, by the official client. Its errors end the command."""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from yaml import YAMLError

from dino_api.names import AUTOML_KIND, AUTOML_PLURAL, GROUP, KIND, PLURAL, VERSION
from dino_operator.kubectl.ending import NO_INPUT, NO_PERMISSION, UNAVAILABLE, USAGE, CommandExit
from dino_operator.plan.model import Object

PLURALS = {KIND: PLURAL, AUTOML_KIND: AUTOML_PLURAL}
_PREFIXES = {
    "dinojob": KIND,
    "dinojobs": KIND,
    "dj": KIND,
    "dinoautoml": AUTOML_KIND,
    "dinoautomls": AUTOML_KIND,
    "daml": AUTOML_KIND,
}
_HURRY_SECONDS = 3
_MERGE = "application/merge-patch+json"


def add_cluster(made: argparse.ArgumentParser) -> None:
    """The options that say which cluster and namespace are meant."""
    group = made.add_argument_group("which cluster, as of kubectl")
    space: Any = group.add_argument("-n", "--namespace", help="default: the context's")
    space.completer = completed_namespaces
    group.add_argument("--context", help="of the kubeconfig; default: the current one")
    group.add_argument("--kubeconfig", metavar="FILE", help="default: KUBECONFIG, ~/.kube/config")


def add_job(made: argparse.ArgumentParser, names: str = "NAME or KIND/NAME", **more: Any) -> None:
    """The argument that names a job or search; shells complete it from the cluster."""
    argument: Any = made.add_argument("job", metavar="JOB", help=names, **more)
    argument.completer = completed_jobs


def completed_jobs(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> dict[str, str]:
    """Names for a shell, each with its kind and phase. Where a cluster does not answer there are
    none: a shell shows no errors."""
    try:
        cluster = _hurried(parsed_args)
        kinds = ((KIND, ""), (AUTOML_KIND, "daml/"))
        return {
            f"{before}{each['metadata']['name']}": f"{kind} {_phase(each)}".strip()
            for kind, before in kinds
            for each in cluster.all_of(kind)
        }
    except CommandExit:
        return {}


def completed_namespaces(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The cluster's namespaces, where they may be listed."""
    try:
        return _hurried(parsed_args).namespaces()
    except CommandExit:
        return []


def _hurried(parsed: argparse.Namespace) -> Cluster:
    """The cluster of a line that is not finished. Raises CommandExit."""
    given = {each: getattr(parsed, each, None) for each in ("namespace", "context", "kubeconfig")}
    return Cluster(argparse.Namespace(**given), hurry=True)


def _phase(resource: Object) -> str:
    return str((resource.get("status") or {}).get("phase") or "")


class Cluster:
    """The API server of a kubeconfig's context, and the namespace that is meant. hurry: somebody
    waits at a key, so nothing is asked twice or waited for."""

    def __init__(self, options: argparse.Namespace, hurry: bool = False) -> None:
        from kubernetes import client, config  # takes a second: only where a cluster is asked

        chosen = {"config_file": options.kubeconfig, "context": options.context}
        settings = client.Configuration()
        settings.retries = 0 if hurry else settings.retries
        self._wait = {"_request_timeout": _HURRY_SECONDS} if hurry else {}
        try:
            self._api: Any = config.new_client_from_config(  # type: ignore[no-untyped-call]
                **chosen, client_configuration=settings
            )
            space = _namespace(config, chosen)
        except (config.ConfigException, OSError) as error:
            raise _no_cluster(str(error).rstrip(".")) from error
        except (YAMLError, UnicodeError, AttributeError, KeyError, TypeError, ValueError) as error:
            given = options.kubeconfig or "the kubeconfig"
            raise _no_cluster(f"{given} is not written as a kubeconfig") from error
        self._custom: Any = client.CustomObjectsApi(self._api)
        self._core: Any = client.CoreV1Api(self._api)
        self._batch: Any = client.BatchV1Api(self._api)
        self.namespace = options.namespace or space

    def all_of(self, kind: str, everywhere: bool = False) -> list[Object]:
        """All resources of a kind. Raises CommandExit."""
        where: Any = {"group": GROUP, "version": VERSION, "plural": PLURALS[kind], **self._wait}
        if everywhere:
            answer = _asked(lambda: self._custom.list_cluster_custom_object(**where))
        else:
            where["namespace"] = self.namespace
            answer = _asked(lambda: self._custom.list_namespaced_custom_object(**where))
        return [{**each, "kind": kind} for each in answer["items"]]

    def get(self, name: str) -> Object:
        """The resource of `NAME` or `KIND/NAME`: without a kind the DinoJob, else the DinoAutoML
        of that name. Raises CommandExit."""
        kinds, bare = split(name)
        for kind in kinds:
            call = partial(self._custom.get_namespaced_custom_object, **self._where(kind))
            resource = _asked(partial(call, name=bare), missing=None)
            if resource is not None:
                return {**resource, "kind": kind}
        either = " or ".join(kinds)
        message = f"There is no {either} {bare} in namespace {self.namespace}."
        raise CommandExit(NO_INPUT, f"{message} kubectl dino status -A lists all.")

    def patch(self, resource: Object, changes: Object) -> Object:
        """A merge patch. Raises CommandExit."""
        where, name = self._where(resource["kind"]), resource["metadata"]["name"]
        call = self._custom.patch_namespaced_custom_object
        return dict(_asked(lambda: call(**where, name=name, body=changes, _content_type=_MERGE)))

    def create(self, manifest: Object, dry_run: bool = False) -> Object:
        """A new resource; dry_run: the API server only says whether it would take it."""
        where = self._where(manifest["kind"])
        more = {"dry_run": "All"} if dry_run else {}
        call = self._custom.create_namespaced_custom_object
        sent = {**where, "body": manifest, "field_validation": "Strict", **more}
        return dict(_asked(lambda: call(**sent)))

    def pods(self, selector: str) -> list[Object]:
        """Pods with those labels. Raises CommandExit."""
        call = self._core.list_namespaced_pod
        return self._listed(lambda: call(self.namespace, label_selector=selector))

    def jobs(self, selector: str) -> list[Object]:
        """Jobs with those labels. Raises CommandExit."""
        call = self._batch.list_namespaced_job
        return self._listed(lambda: call(self.namespace, label_selector=selector))

    def config_maps(self, selector: str) -> list[Object]:
        """ConfigMaps with those labels. Raises CommandExit."""
        call = self._core.list_namespaced_config_map
        return self._listed(lambda: call(self.namespace, label_selector=selector))

    def events(self, uid: str = "") -> list[Object]:
        """Events of the namespace, or about the object with that uid. Raises CommandExit."""
        call = self._core.list_namespaced_event
        chosen = {"field_selector": f"involvedObject.uid={uid}"} if uid else {}
        return self._listed(lambda: call(self.namespace, **chosen))

    def pods_elsewhere(self, namespace: str, selector: str) -> list[Object]:
        """Pods with those labels in another namespace, or where it has none, wherever they are, if
        all may be listed. Raises CommandExit."""
        everywhere, in_one = self._core.list_pod_for_all_namespaces, self._core.list_namespaced_pod
        near = partial(in_one, namespace, label_selector=selector)
        try:
            pods = self._listed(near)
            return pods or self._listed(lambda: everywhere(label_selector=selector))
        except CommandExit as end:
            if end.status != NO_PERMISSION:
                raise
        return self._listed(near)

    def namespaces(self) -> list[str]:
        """Names of all namespaces. Raises CommandExit."""
        call = self._core.list_namespace
        return [each["metadata"]["name"] for each in self._listed(lambda: call(**self._wait))]

    def secret(self, name: str) -> dict[str, str]:
        """A Secret's keys as text; only for who asks for it by an option. Raises CommandExit."""
        call = self._core.read_namespaced_secret
        data = _asked(lambda: call(name, self.namespace)).data or {}
        return {key: base64.b64decode(each).decode(errors="replace") for key, each in data.items()}

    def server_version(self) -> str:
        """The API server's version. Raises CommandExit."""
        from kubernetes.client import VersionApi

        return str(_asked(lambda: VersionApi(self._api).get_code()).git_version)

    def _listed(self, call: Callable[[], Any]) -> list[Object]:
        answer = _asked(call)
        return [dict(self._api.sanitize_for_serialization(each)) for each in answer.items]

    def log_text(self, pod: Object, container: str, tail: int, previous: bool) -> str:
        """The last lines of a container's log. previous: of its run before. Raises CommandExit."""
        meta, call = pod["metadata"], self._core.read_namespaced_pod_log
        asked = {"container": container, "tail_lines": tail, "previous": previous}
        asked["_preload_content"] = False
        data = _asked(lambda: call(meta["name"], meta["namespace"], **asked).data)
        return bytes(data).decode(errors="replace")

    def log(
        self, pod: str, container: str, follow: bool, since: int | None = None
    ) -> Iterator[str]:
        """The lines of a container's log. since: of these last seconds alone. Raises CommandExit,
        also where the connection breaks between two lines."""
        call = self._core.read_namespaced_pod_log
        asked = {"container": container, "follow": follow, "_preload_content": False}
        asked |= {} if since is None else {"since_seconds": since}
        parts = _asked(lambda: call(pod, self.namespace, **asked).stream())
        rest = b""
        while part := _asked(lambda: next(parts, b"")):
            *whole, rest = (rest + part).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
        if rest:
            yield rest.decode(errors="replace")

    def _where(self, kind: str) -> dict[str, str]:
        plural = PLURALS[kind]
        return {"group": GROUP, "version": VERSION, "plural": plural, "namespace": self.namespace}


def _no_cluster(why: str) -> CommandExit:
    message = f"There is no cluster to ask: {why}. Give --kubeconfig, or set KUBECONFIG."
    return CommandExit(UNAVAILABLE, message)


def split(name: str) -> tuple[tuple[str, ...], str]:
    """The kinds that `NAME` or `KIND/NAME` may mean, and the name. Raises CommandExit."""
    before, slash, bare = name.rpartition("/")
    if not slash:
        return (KIND, AUTOML_KIND), bare
    kind = _PREFIXES.get(before.lower().removesuffix(f".{GROUP}"))
    if kind is None:
        raise CommandExit(USAGE, f"{before} is no kind: write dinojob/{bare} or dinoautoml/{bare}.")
    return (kind,), bare


def _namespace(config: Any, chosen: dict[str, Any]) -> str:
    contexts, active = config.list_kube_config_contexts(chosen["config_file"])
    named = next((each for each in contexts if each["name"] == chosen["context"]), active)
    return str(named["context"].get("namespace") or "default")


_RAISES = object()


def _asked(call: Callable[[], Any], missing: Any = _RAISES) -> Any:
    """What the API server answers. missing: in place of a 404. Raises CommandExit."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return call()
    except ApiException as error:
        if error.status == 404 and missing is not _RAISES:
            return missing
        raise CommandExit(_status(error.status), error_message(error.status, error.body)) from error
    except HTTPError as error:
        raise CommandExit(UNAVAILABLE, f"The API server cannot be reached: {error}.") from error


def _status(status: int) -> int:
    if status in (401, 403):
        return NO_PERMISSION
    return {404: NO_INPUT, 400: USAGE, 409: USAGE, 422: USAGE}.get(status, UNAVAILABLE)


def error_message(status: int, body: Any) -> str:
    """The sentence of an answer that is an error."""
    try:
        message = str(json.loads(body)["message"])
    except (KeyError, RecursionError, TypeError, ValueError):
        message = f"The API server answered with status {status}."
    if status == 404 and "the server could not find" in message:
        message += ". Are the CRDs installed (helm list -A)?"
    return message
