"""kopf: watch events come in here and go to the operator's cache and queue. Nothing else.

kopf's own state machines (create, update, field, timers, finalizers, indexes) are not used: they
act on events, and an event may be lost. See docs/decisions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import kopf

from dino_api.names import GROUP, MANAGED_BY, MANAGED_BY_LABEL, VERSION
from dino_operator.runtime.keys import KINDS, Kind
from dino_operator.runtime.loop import Operator

EXIT_SECONDS = 30
"""After so long a process that was told to end, and does not, is ended."""
OURS = f"{MANAGED_BY_LABEL}={MANAGED_BY}"


class NothingKept(kopf.DiffBaseStorage):
    """What kopf keeps of objects between two events, for handlers of changes: there are none.

    Else it copies each object whole, twice, with every event.
    """

    def build(
        self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None
    ) -> kopf.BodyEssence:
        """Nothing is compared."""
        return {}

    def fetch(self, *, body: kopf.Body) -> None:
        """Nothing was kept."""

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is."""


def settings() -> kopf.OperatorSettings:
    """kopf's settings: quiet, frugal, and without writes of its own."""
    made = kopf.OperatorSettings()
    # Without selectors kopf streams every Job and pod of the cluster and filters them here.
    made.watching.label_selectors["jobs"] = OURS
    made.watching.label_selectors["pods"] = OURS
    made.watching.chunk_size = 500
    # Bookmarks come once a minute; a stream that is silent for two is dead. The API server ends a
    # watch after some 5 to 10 minutes unless told otherwise.
    made.watching.inactivity_timeout = 130
    made.watching.server_timeout = 1800
    made.networking.request_timeout = 30
    made.networking.error_backoffs = (0.5, 1, 2, 4)
    made.queueing.idle_timeout = 1
    made.scanning.disabled = True
    made.posting.enabled = False
    made.persistence.diffbase_storage = NothingKept()
    made.peering.standalone = True
    made.process.ultimate_exiting_timeout = EXIT_SECONDS
    return made


def registry(operator: Operator) -> kopf.OperatorRegistry:
    """The handlers that feed the operator, and its start and stop."""
    made = kopf.OperatorRegistry()

    def feed(kind: Kind) -> Any:
        async def on_event(event: kopf.RawEvent, **_: Any) -> None:
            operator.observe(kind, event["type"], dict(event["object"]))

        return on_event

    for kind in KINDS:
        kopf.on.event(GROUP, VERSION, kind.value, registry=made, id=kind.value)(feed(kind))
    kopf.on.event("batch", "v1", "jobs", registry=made, id="jobs")(feed(Kind.JOBS))
    kopf.on.event("", "v1", "pods", registry=made, id="pods")(feed(Kind.PODS))

    @kopf.on.login(registry=made)
    def login(**known: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**known) or kopf.login_with_kubeconfig(**known)

    @kopf.on.startup(registry=made)
    async def start(**_: Any) -> None:
        await operator.start()

    @kopf.on.cleanup(registry=made)
    async def stop(**_: Any) -> None:
        await operator.stop()

    return made
