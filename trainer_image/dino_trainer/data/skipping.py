"""One list of the images that are left out, for all processes of all nodes.

The first process makes it, before anything is computed, and tells it to the others. Each process
that looked for itself might find another one, and would train on other images in another order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.source_facts import Looking
from dino_trainer.data.stage import StagedSource
from dino_trainer.data.unreadable import (
    KEY,
    SkipList,
    skip_list,
    skipped_file,
    skipped_in_words,
)
from dino_trainer.distributed import World
from dino_trainer.errors import invalid_dataset, invalid_spec
from dino_trainer.run import RunContext

_SHOWN = 12


def agreed_skips(
    staged: Sequence[StagedSource], share: float, context: RunContext
) -> tuple[SkipList, ...]:
    """The lists of all sources of a split; none where the share is 0. For all processes to call.

    Raises what `skip_list` does, on the first process; InvalidSpec where another one was given
    another share.
    """
    world = context.world
    agreed = world.broadcast(share)
    if agreed != share:
        raise invalid_spec(
            f"{KEY} is {share:g} in process {world.rank + 1} of {world.size}, and {agreed:g} in "
            "the first one.",
            "Give all nodes the same spec.",
        )
    if not share:
        return ()
    looking = Looking(context.work_dir / "data", context.reporter.say, context.stop)
    made = [skip_list(one, share, looking) for one in staged] if world.is_main else []
    return tuple(world.broadcast(made))


def refuse_other_data(dataset: CocoDataset, world: World) -> None:
    """Raises InvalidDataset on all processes where one of them has other data, or left out others.

    For all processes to call.
    """
    seen = world.broadcast(world.gather((len(dataset.images), dataset.digest))) or []
    for place, one in enumerate(seen):
        if one != seen[0]:
            (images, digest), (others, other) = one, seen[0]
            raise invalid_dataset(
                f"Process {place + 1} of {world.size} has read {images} images (digest "
                f"{digest[:_SHOWN]}…), and the first one {others} ({other[:_SHOWN]}…).",
                "Give all nodes the same data, or name it by one s3:// URI.",
            )


def tell_skipped(dataset: CocoDataset, key: str, context: RunContext) -> None:
    """Names the images that are left out, and writes them all beside the result.

    The list is written where nothing is left out, too: it replaces that of an earlier attempt.
    key: of the data in the spec's `dataset`.
    """
    if not context.world.is_main:
        return
    sources = [
        {
            "annotations": str(source.annotations),
            "images": str(source.images),
            "listed": one.listed,
            "skipped": [image._asdict() for image in one.images],
        }
        for source, one in zip(dataset.sources, dataset.skips, strict=True)
    ]
    text = json.dumps({"schema": 1, "sources": sources}, indent=2, ensure_ascii=False)
    context.output.publish_text(skipped_file(key), f"{text}\n")
    for sentence in skipped_in_words(dataset.skips, key):
        context.reporter.event(f"Warning: {sentence}")
