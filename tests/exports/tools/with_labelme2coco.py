"""labelme2coco: Labelme's files beside the pictures, boxes drawn both ways round."""

import shutil

import labelme2coco
from common import IMAGES, OUT, labelme, wrote


def export(name, what, backwards):
    folder = OUT / f"{name}_in"
    shutil.copytree(IMAGES, folder)
    labelme(folder, backwards)
    labelme2coco.convert(str(folder), str(OUT / name))
    wrote(what, OUT / name / "dataset.json", folder)


export("plain", "from Labelme", backwards=False)
export("backwards", "from Labelme, boxes drawn from the lower right corner", backwards=True)
