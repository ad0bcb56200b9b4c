"""Files of a job's output in the object store, read from this machine with its own credentials.

boto3 is asked, which finds credentials as the AWS CLI does. Its errors end the command with the
command that would work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dino_api.names import DEFAULT_REGION, Env
from dino_operator.kubectl.ending import (
    INSTALL,
    NO_INPUT,
    NO_PERMISSION,
    UNAVAILABLE,
    USAGE,
    CommandExit,
)
from dino_operator.plan.model import Object
from dino_operator.plan.observed.objects import CONTAINER

_ABSENT = {"404", "NoSuchKey", "NotFound"}
_IN_CLUSTER = re.compile(r"^([a-z0-9-]+)\.([a-z0-9-]+)(\.svc(\..*)?)?$")


AMAZON = "aws"
"""In place of an endpoint's URL: Amazon's own."""


class StoreAccessError(CommandExit):
    """A file may not be read, or is not there: without the right to list a bucket S3 does not say
    which."""


@dataclass(frozen=True)
class Access:
    """How the object store is reached. endpoint: empty for Amazon's. keys: of a Secret, in place
    of this machine's credentials."""

    endpoint: str = ""
    region: str = DEFAULT_REGION
    path_style: bool = False
    keys: tuple[str, str] | None = None


def pod_environment(jobs: list[Object]) -> dict[str, Any]:
    """The trainer's variables in the newest Job: texts, and where the others come from."""
    for job in sorted(jobs, key=lambda each: str(each["metadata"]["creationTimestamp"]))[::-1]:
        for container in job["spec"]["template"]["spec"]["containers"]:
            if container["name"] == CONTAINER:
                given = container.get("env") or ()
                return {each["name"]: each.get("value", each.get("valueFrom")) for each in given}
    return {}


def access_of(
    pods: Mapping[str, Any], spec: Object, endpoint: str, environ: Mapping[str, str]
) -> Access:
    """What is asked for comes first, then this machine's environment, then what the pods have,
    then the resource's own spec.storage."""
    own = (spec.get("template") or spec).get("storage") or {}
    asked = endpoint or environ.get(Env.S3_ENDPOINT, "")
    url = asked or pods.get(Env.S3_ENDPOINT) or own.get("endpoint") or ""
    url = "" if url == AMAZON else url
    style = environ.get(Env.S3_PATH_STYLE) or pods.get(Env.S3_PATH_STYLE)
    path_style = own.get("pathStyle", bool(url)) if style is None else style == "true"
    regions = (environ.get(Env.S3_REGION), pods.get(Env.S3_REGION), own.get("region"))
    return Access(url, next(filter(None, regions), DEFAULT_REGION), path_style)


def secret_name(pods: Mapping[str, Any], spec: Object) -> str:
    """The Secret with the pods' keys; empty where they have an identity of their own."""
    source = pods.get(Env.S3_ACCESS_KEY)
    named = source.get("secretKeyRef", {}).get("name") if isinstance(source, dict) else ""
    own = (spec.get("template") or spec).get("storage") or {}
    return str(named or own.get("secretName") or "")


class ObjectStore:
    """The object store. job: whose files they are, for the commands that it names."""

    def __init__(self, access: Access, job: str) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            message = f"Reading s3:// needs boto3. {INSTALL.format('kubectl')}"
            raise CommandExit(UNAVAILABLE, message) from error
        self.access, self.job = access, job
        style = "path" if access.path_style else "auto"
        key, secret = access.keys or (None, None)
        config = Config(
            s3={"addressing_style": style},
            connect_timeout=10,
            read_timeout=60,
            retries={"total_max_attempts": 3},
        )
        try:
            self._s3: Any = boto3.Session().client(
                "s3",
                endpoint_url=access.endpoint or None,
                region_name=access.region,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                config=config,
            )
        except ValueError as error:
            message = f"{access.endpoint} is no URL of an object store: {str(error).rstrip('.')}."
            raise CommandExit(USAGE, f"{message} Give --endpoint http://HOST:PORT.") from error
        except BotoCoreError as error:
            message = f"This machine's settings for AWS cannot be used: {str(error).rstrip('.')}."
            raise CommandExit(USAGE, f"{message} See AWS_PROFILE and ~/.aws/config.") from error

    def read(self, uri: str) -> bytes | None:
        """The file's bytes, or None where there is no such file. Raises CommandExit."""
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            return bytes(self._s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                return None
            raise self._refused(uri, error) from error
        except BotoCoreError as error:
            raise self._failed(uri, error) from error

    def _refused(self, uri: str, error: Any) -> CommandExit:
        """What the object store's own words mean here."""
        code, http = error.response["Error"]["Code"], error.response["ResponseMetadata"]
        if code == "NoSuchBucket":
            return CommandExit(NO_INPUT, f"There is no bucket of {uri}{self._where()}.")
        if http.get("HTTPStatusCode") in (401, 403) or code == "XAdminUserNotFound":
            message = f"{uri} may not be read{self._where()} with these credentials ({code})."
            return StoreAccessError(NO_PERMISSION, f"{message}\n{self._ways(uri)}")
        return CommandExit(UNAVAILABLE, f"{uri} cannot be read{self._where()}: {error}.")

    def _failed(self, uri: str, error: Any) -> CommandExit:
        from botocore import exceptions as of

        if isinstance(
            error, of.NoCredentialsError | of.PartialCredentialsError | of.TokenRetrievalError
        ):
            message = f"There are no credentials for {uri} on this machine."
            return CommandExit(NO_PERMISSION, f"{message}\n{self._ways(uri)}")
        if isinstance(error, of.ParamValidationError):
            return CommandExit(USAGE, f"{uri} cannot be asked for: {error}.")
        return CommandExit(
            UNAVAILABLE, f"{uri} cannot be read{self._where()}: {error}.{self._forward()}"
        )

    def _where(self) -> str:
        return f" at {self.access.endpoint}" if self.access.endpoint else ""

    def _ways(self, uri: str) -> str:
        """The commands that may read it."""
        own = f"{Env.S3_ACCESS_KEY}=… {Env.S3_SECRET_KEY}=… kubectl dino report {self.job}"
        at = f" --endpoint-url {self.access.endpoint}" if self.access.endpoint else ""
        lines = [
            "With keys of yours:             " + own,
            f"With those of the job's Secret: kubectl dino report {self.job} --secret",
            f"With the AWS CLI, logged in:    aws s3 cp {uri} .{at}",
        ]
        return "\n".join(lines if self.access.keys is None else (lines[0], lines[2]))

    def _forward(self) -> str:
        """How an endpoint that only the cluster knows is reached from here."""
        at = urlsplit(self.access.endpoint)
        service = _IN_CLUSTER.match(at.hostname or "")
        if not service:
            return ""
        port = at.port or (443 if at.scheme == "https" else 80)
        near = f"{at.scheme}://localhost:9000"
        return (
            "\nIt is a name of the cluster. Where that is so, in another terminal:\n"
            f"  kubectl -n {service[2]} port-forward service/{service[1]} 9000:{port}\n"
            f"and then: kubectl dino report {self.job} --endpoint {near}"
        )
