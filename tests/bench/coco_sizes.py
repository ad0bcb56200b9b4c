"""A mix of image sizes like that of COCO's training images, which are not shipped."""

from __future__ import annotations

import numpy as np

# Height, width and rough share in percent of the commonest sizes; the rest is drawn.
COMMON = {
    (480, 640): 22.0,
    (427, 640): 15.0,
    (640, 480): 9.0,
    (426, 640): 6.0,
    (375, 500): 5.0,
    (640, 427): 4.0,
    (360, 640): 3.5,
    (333, 500): 3.0,
    (425, 640): 2.5,
    (500, 375): 2.5,
    (640, 426): 2.0,
    (640, 640): 1.5,
    (612, 612): 1.5,
    (428, 640): 1.5,
    (500, 333): 1.0,
}


def coco_like_sizes(images: int, seed: int = 0) -> np.ndarray:
    """(height, width) of each image, int64[images, 2]; a fifth of them of uncommon sizes.

    Those are 640 long, as COCO's are, a third of them upright, the shorter side 120 to 640.
    """
    rng = np.random.default_rng(seed)
    share = np.array([*COMMON.values()])
    sizes = np.array([*COMMON])[rng.choice(len(COMMON), images, p=share / share.sum())]
    short = (640 * np.exp(-np.abs(rng.normal(0.32, 0.2, images)))).clip(120).round().astype(int)
    long = np.full(images, 640)
    upright = (rng.random(images) < 1 / 3)[:, None]
    uncommon = np.where(upright, np.stack([long, short], 1), np.stack([short, long], 1))
    return np.where((rng.random(images) < 0.2)[:, None], uncommon, sizes)
