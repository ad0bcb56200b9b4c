"""`dino convert` of formats in pixels: YOLO's shares, Pascal VOC's corners, KITTI's edges.

Every number here was computed by hand.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dino_trainer.convert.coco_writer import with_own_names
from dino_trainer.convert.records import LabelledImage
from dino_trainer.errors import TrainerError
from tests.unit.convert_lab import Converter, convert, put, put_image

__all__ = ["convert"]
ANT = "1 0.5 0.5 0.25 0.5\n"  # of 80 x 40: 20 wide and 20 high around (40, 20)
IS_ANT = ("ant", 30, 10, 20, 20)


def ultralytics(root: Path) -> None:
    put(
        root / "data.yaml",
        "path: ../sets/beasts\ntrain: images/train\nval: images/val\nnames: {0: zebra, 1: ant}\n",
    )
    for name, text in (("train/a", ANT), ("train/sub/b", ANT), ("val/a", "")):
        put_image(root / f"images/{name}.jpg", seed=len(name))
        put(root / f"labels/{name}.txt", text)
    put_image(root / "images/val/none.png")


def test_yolo_of_ultralytics_with_its_splits(convert: Converter) -> None:
    ultralytics(convert.source)
    assert convert.run("yolo") == 0, convert.err
    assert convert.boxes("train") == {"a.jpg": [IS_ANT], "sub/b.jpg": [IS_ANT]}
    assert convert.boxes("val") == {"a.jpg": [], "none.png": []}
    assert convert.categories == {1: "zebra", 2: "ant"}
    assert "Images without a label file count as images without an object: 1." in convert.out


def test_yolo_names_of_two_splits_that_are_alike_are_kept_apart(convert: Converter) -> None:
    ultralytics(convert.source)
    assert convert.run("yolo", "--split", "1,0") == 0, convert.err
    assert sorted(convert.boxes("train")) == ["none.png", "sub/b.jpg", "train/a.jpg", "val/a.jpg"]
    assert not (convert.output / "val").exists()


def test_yolo_of_roboflow_whose_paths_lead_nowhere(convert: Converter) -> None:
    root = convert.source
    put(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: [no, '7']\n",
    )
    for split in ("train", "valid"):
        put_image(root / split / "images/a.jpg")
        put(root / split / "labels/a.txt", ANT)
    assert convert.run("yolo") == 0, convert.err
    assert convert.boxes("val") == {"a.jpg": [("7", 30, 10, 20, 20)]}
    assert convert.categories == {1: "no", 2: "7"}, "a text, not false"


def test_yolo_of_cvat_has_no_split(convert: Converter) -> None:
    root = convert.source
    put(
        root / "obj.data",
        "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = b/\n",
    )
    put(root / "obj.names", "zebra\nant\n")
    put(root / "train.txt", "data/obj_train_data/in/a.jpg\n")
    put_image(root / "obj_train_data/in/a.jpg")
    put(root / "obj_train_data/in/a.txt", ANT)
    assert convert.done("yolo") == {"in/a.jpg": [IS_ANT]}


def test_yolo_a_name_never_leads_out_of_the_output(convert: Converter) -> None:
    """An absolute line with `..` begins like the base, and lies beside it."""
    root = convert.source
    put(root / "data.yaml", "train: train.txt\nnames: [zebra, ant]\n")
    put(root / "train.txt", f"{root}/../x.jpg\n{root}/images/../images/in/a.jpg\n")
    put_image(convert.folder / "x.jpg")
    put(convert.folder / "x.txt", ANT)
    put_image(root / "images/in/a.jpg")
    put(root / "labels/in/a.txt", ANT)
    for options in ((), ("--archive",)):
        assert convert.run("yolo", *options) == 0, convert.err
        names = [one["file_name"] for one in convert.document("train")["images"]]
        assert names == ["in/a.jpg", "x.jpg"]
    assert convert.run("yolo") == 0, convert.err
    assert convert.boxes("train") == {"in/a.jpg": [IS_ANT], "x.jpg": [IS_ANT]}


@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "/x.jpg"])
def test_the_writer_refuses_names_that_lead_out(tmp_path: Path, name: str) -> None:
    image = LabelledImage(tmp_path / "x.jpg", name, 80, 40)
    with pytest.raises(TrainerError, match="leads out of the output"):
        with_own_names([image])


def test_yolo_of_cvat_with_its_images_elsewhere(convert: Converter) -> None:
    """CVAT exports labels alone; the label lies where the list has the image."""
    root, photos = convert.source, convert.folder / "photos"
    put(root / "obj.data", "train = data/train.txt\nnames = data/obj.names\n")
    put(root / "obj.names", "zebra\nant\n")
    put(root / "train.txt", "data/obj_train_data/in/a.jpg\n")
    put(root / "obj_train_data/in/a.txt", ANT)
    put_image(photos / "in/a.jpg")
    assert "--images DIR" in convert.refused("yolo")
    assert convert.done("yolo", "--images", str(photos)) == {"in/a.jpg": [IS_ANT]}


def test_yolo_splits_whose_images_are_elsewhere(convert: Converter) -> None:
    """Folders with the ends of the paths that data.yaml has; each split has its own labels."""
    root, photos = convert.source, convert.folder / "photos"
    put(root / "data.yaml", "train: images/train\nval: images/val\nnames: [zebra, ant]\n")
    for split, text in (("train", ANT), ("val", "")):
        put(root / f"labels/{split}/a.txt", text)
        put_image(photos / split / "a.jpg")
    assert "--images DIR" in convert.refused("yolo")
    assert convert.run("yolo", "--images", str(photos)) == 0, convert.err
    assert convert.boxes("train") == {"a.jpg": [IS_ANT]}
    assert convert.boxes("val") == {"a.jpg": []}
    assert "without a label file" not in convert.out


ROBOFLOW = (
    "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [zebra, ant]\n"
)


def test_yolo_a_split_that_is_named_and_not_there_is_told(convert: Converter) -> None:
    """Roboflow's template names all three, whatever is exported."""
    root = convert.source
    put(root / "data.yaml", ROBOFLOW)
    put_image(root / "train/images/a.jpg")
    put(root / "train/labels/a.txt", ANT)
    assert convert.run("yolo") == 0, convert.err
    assert convert.boxes("train") == {"a.jpg": [IS_ANT]}
    assert "warning: data.yaml: val is '../valid/images', which is not there" in convert.out
    assert "warning: data.yaml: test is '../test/images', which is not there" in convert.out


def test_yolo_two_splits_are_never_the_same_folder_by_chance(convert: Converter) -> None:
    """Both paths end in `images`; one folder that is named twice is meant."""
    root = convert.source
    put(root / "data.yaml", ROBOFLOW)
    put_image(root / "images/a.jpg")
    put(root / "labels/a.txt", ANT)
    assert "train is '../train/images' and val is '../valid/images'" in convert.refused("yolo")
    put(root / "data.yaml", "train: images\nval: ./images\nnames: [zebra, ant]\n")
    assert convert.run("yolo") == 0, convert.err
    assert convert.boxes("train") == convert.boxes("val") == {"a.jpg": [IS_ANT]}


@pytest.mark.parametrize("names", ["classes.txt", "labels.txt"])
def test_yolo_beside_the_images_or_in_a_folder_of_labels(convert: Converter, names: str) -> None:
    root = convert.source
    put(root / names, "zebra\nant\n")
    flat = names == "labels.txt"
    put_image(root / ("a.jpg" if flat else "images/a.jpg"))
    put(root / ("a.txt" if flat else "labels/a.txt"), ANT)
    put(root / ("gone.txt" if flat else "labels/gone.txt"), ANT)
    assert convert.done("yolo") == {"a.jpg": [IS_ANT]}
    assert "Label files without an image were left out: 1." in convert.out


def test_yolo_outlines_become_boxes_and_key_points_are_not_read(convert: Converter) -> None:
    root = convert.source
    put(root / "data.yaml", "train: images\nnames: [zebra, ant]\nkpt_shape: [2, 3]\n")
    put_image(root / "images/a.jpg")
    put(
        root / "labels/a.txt",
        "0 0.1 0.25 0.5 0.25 0.5 0.75\n"
        "1 0.5 0.5 0.25 0.5 0.4 0.4 2 0.6 0.6 2\n"
        "0 0.5 0 1 0.5 0.5 1 0 0.5\n",
    )
    assert convert.run("yolo") == 0, convert.err
    assert convert.boxes("train") == {
        "a.jpg": [("zebra", 8, 10, 32, 20), IS_ANT, ("zebra", 0, 0, 80, 40)]
    }
    assert "Polygons, ellipses and masks became the boxes around them: 2." in convert.out


@pytest.mark.parametrize("shape", ['["²", 3]', f'["{"9" * 5000}", 3]', "[2]", "two", "[a, b]"])
def test_a_strange_number_of_key_points_is_none(convert: Converter, shape: str) -> None:
    put(convert.source / "data.yaml", f"train: images\nnames: [zebra, ant]\nkpt_shape: {shape}\n")
    put_image(convert.source / "images/a.jpg")
    put(convert.source / "labels/a.txt", ANT)
    assert convert.run("yolo") == 0, convert.err
    assert convert.boxes("train") == {"a.jpg": [IS_ANT]}


def test_yolo_is_measured_as_viewers_show_the_image(convert: Converter) -> None:
    """Orientation 6: 80 x 40 in the file, 40 x 80 on the screen of whoever drew the box."""
    exif = Image.Exif()
    exif[0x0112] = 6
    put(convert.source / "classes.txt", "zebra\nant\n")
    put_image(convert.source / "images/a.jpg", exif=exif.tobytes())
    put(convert.source / "labels/a.txt", "1 0.5 0.5 0.5 0.5\n")
    assert convert.done("yolo") == {"a.jpg": [("ant", 10, 20, 20, 40)]}
    (image,) = convert.document()["images"]
    assert (image["width"], image["height"]) == (40, 80)


@pytest.mark.parametrize(
    "line, said",
    [
        ("2 0.5 0.5 0.2 0.2", "line 1: the class is 2, and names has the numbers 0 to 1"),
        ("1 30 10 20 20", "line 1 has 30, which is no share of an image"),
        ("1 0.5 0.5 0.2", "line 1 has 4 fields"),
        ("1 0.5 0.5 0.2 nan", "line 1: a coordinate is 'nan', which is no number"),
        ("1 0.5 0.5 0.2 0.2 0.9", "line 1 has 6 fields"),
    ],
)
def test_yolo_lines_that_are_none(convert: Converter, line: str, said: str) -> None:
    put(convert.source / "classes.txt", "zebra\nant\n")
    put_image(convert.source / "images/a.jpg")
    put(convert.source / "labels/a.txt", line)
    assert said in convert.refused("yolo")


def test_yolo_without_names_labels_or_images(convert: Converter) -> None:
    put_image(convert.source / "images/a.jpg")
    assert "no data.yaml, obj.data or classes.txt" in convert.refused("yolo")
    put(convert.source / "classes.txt", "ant\n\nzebra\n")
    assert "no label file for one of them" in convert.refused("yolo")
    put(convert.source / "labels/a.txt", "")
    assert "class 2 is called ''" in convert.refused("yolo")
    put(convert.source / "classes.txt", "ant\nant\n")
    assert "two classes are called 'ant'" in convert.refused("yolo")
    put(convert.source / "data.yaml", "names: {0: ant, 2: bee}\ntrain: images\n")
    assert "keys of names are not 0, 1, 2" in convert.refused("yolo")
    put(convert.source / "data.yaml", "names: [ant]\ntrain: nowhere\n")
    assert "train is 'nowhere'" in convert.refused("yolo")


def an_object(name: str, corners: tuple[float, ...], more: str = "") -> str:
    """As LabelImg writes it. corners: xmin, ymin, xmax, ymax."""
    tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    inner = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    return (
        f"<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>0</difficult>{more}<bndbox>{inner}</bndbox></object>"
    )


def voc(*objects: str, name: str = "a.jpg", size: tuple[int, int] = (80, 40)) -> str:
    return (
        f"<annotation><folder>JPEGImages</folder><filename>{name}</filename><size>"
        f"<width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        f"<segmented>0</segmented>{''.join(objects)}</annotation>"
    )


def devkit(root: Path, *objects: str) -> None:
    put_image(root / "JPEGImages/a.jpg")
    put(root / "Annotations/a.xml", voc(*objects))


def test_voc_is_read_as_the_devkit_counts_and_says_so(convert: Converter) -> None:
    """Columns 11 to 40, counted from 1, are 30 columns after 10."""
    devkit(convert.source, an_object("cat", (11, 10, 40, 28)))
    assert convert.done("voc") == {"a.jpg": [("cat", 10, 9, 30, 19)]}
    assert "pixels counted from 1, the last one inside" in convert.out
    assert convert.done("voc", "--voc-zero-based") == {"a.jpg": [("cat", 11, 10, 29, 18)]}
    assert "edges counted from 0" in convert.out


def test_voc_a_corner_at_0_shows_the_other_way_of_counting(convert: Converter) -> None:
    devkit(convert.source, an_object("cat", (0, 10, 40, 28)), an_object("cat", (1, 1, 80, 40)))
    assert convert.done("voc")["a.jpg"][1] == ("cat", 0, 0, 80, 40)
    assert "give --voc-zero-based): 1." in convert.out
    assert convert.done("voc", "--voc-zero-based")["a.jpg"][0] == ("cat", 0, 10, 40, 18)
    assert "warning" not in convert.out


def test_voc_parts_are_no_objects_and_classes_are_sorted(convert: Converter) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    difficult = an_object("dog", (1, 1, 2.5, 4)).replace("difficult>0", "difficult>1")
    devkit(convert.source, difficult, an_object("cat", (11, 10, 40, 28), part))
    assert convert.done("voc")["a.jpg"] == [("dog", 0, 0, 2.5, 4), ("cat", 10, 9, 30, 19)]
    assert convert.categories == {1: "cat", 2: "dog"}
    assert "Boxes marked as difficult are ordinary boxes: 1." in convert.out


def test_voc_splits_are_its_lists_and_what_is_in_none_is_told(convert: Converter) -> None:
    root, cat = convert.source, an_object("cat", (11, 10, 40, 28))
    for name in "abcd":
        put_image(root / f"JPEGImages/{name}.jpg")
        put(root / f"Annotations/{name}.xml", voc(cat, name=f"{name}.jpg"))
    put_image(root / "JPEGImages/unlabelled.jpg")
    for split, names in (("train", "a\nb\n"), ("val", "c\n"), ("trainval", "a\nb\nc\n")):
        put(root / f"ImageSets/Main/{split}.txt", names)
    put(root / "ImageSets/Main/cat_train.txt", "a 1\nb -1\n")
    assert convert.run("voc") == 0, convert.err
    assert (sorted(convert.boxes("train")), list(convert.boxes("val"))) == (
        ["a.jpg", "b.jpg"], ["c.jpg"]
    )  # fmt: skip
    assert "puts into no split were left out: 1." in convert.out
    assert "nobody has looked at them: 1." in convert.out


def test_voc_lists_have_folders_spaces_and_quotes(convert: Converter) -> None:
    """CVAT lists a picture in a folder by its path below Annotations, and quotes spaces."""
    root, cat = convert.source, an_object("cat", (11, 10, 40, 28))
    for name in ("one/a", "two/a", "one/b c", "d 1"):
        put_image(root / f"JPEGImages/{name}.jpg", seed=sum(name.encode()))
        put(root / f"Annotations/{name}.xml", voc(cat, name=f"{name}.jpg"))
    put(root / "ImageSets/Main/train.txt", 'one/a 1\n"one/b c"\n')
    put(root / "ImageSets/Main/val.txt", 'two/a -1\n"d 1"  0\n')
    assert convert.run("voc") == 0, convert.err
    assert sorted(convert.boxes("train")) == ["one/a.jpg", "one/b c.jpg"]
    assert sorted(convert.boxes("val")) == ["d 1.jpg", "two/a.jpg"]


def test_voc_beside_images_in_folders_of_splits_with_wrong_names_and_no_sizes(
    convert: Converter,
) -> None:
    """What Roboflow and LabelImg write: names of another file, sizes of 0."""
    cat = an_object("cat", (11, 10, 40, 28))
    for split, said in (("train", "other.jpg"), ("valid", "C:\\photos\\a.jpg"), ("test", "a")):
        put_image(convert.source / split / "a.png", size=(90, 50))
        put(convert.source / split / "a.xml", voc(cat, name=said, size=(0, 0)))
    assert convert.run("voc") == 0, convert.err
    for split in ("train", "val", "test"):
        assert convert.boxes(split) == {"a.png": [("cat", 10, 9, 30, 19)]}
        assert convert.document(split)["images"][0]["width"] == 90


def test_voc_deeper_folders(convert: Converter) -> None:
    """CVAT keeps the folders of names on both sides."""
    cat = an_object("cat", (11, 10, 40, 28))
    for part in ("one", "two"):
        put_image(convert.source / f"JPEGImages/{part}/a.jpg", seed=len(part) + ord(part[0]))
        put(convert.source / f"Annotations/{part}/a.xml", voc(cat, name=f"{part}/a.jpg"))
    is_cat = [("cat", 10, 9, 30, 19)]
    assert convert.done("voc") == {"one/a.jpg": is_cat, "two/a.jpg": is_cat}


@pytest.mark.parametrize(
    "text, said",
    [
        ("<annotation><object>", "is not XML: no element found: line 1"),
        ("<annotations/>", "is not Pascal VOC: it begins with <annotations>"),
        (voc("<object><name>cat</name></object>"), "object 1 has no bndbox"),
        (voc(an_object("", (1, 1, 2, 2))), "object 1 has no name"),
        (voc(an_object("cat", ("x", 1, 2, 2))), "bndbox.xmin is 'x', which is no number"),  # type: ignore[arg-type]
        (voc().replace("<annotation>", "<!DOCTYPE a []><annotation>", 1), "has a DOCTYPE"),
        (voc(name="b.jpg").replace("a.jpg", "b.jpg"), ""),
    ],
)
def test_voc_files_that_are_none(convert: Converter, text: str, said: str) -> None:
    devkit(convert.source)
    put(convert.source / "Annotations/b.xml", text)
    assert (said or "speaks of images that are not there: 'b.jpg'") in convert.refused("voc")


def test_voc_entities_are_not_expanded(convert: Converter) -> None:
    """Ten billion letters, were they; and a file of this machine."""
    nested = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha" * 5}">' for n in range(10))
    for entities in (nested, '<!ENTITY e9 SYSTEM "file:///etc/passwd">'):
        devkit(convert.source)
        text = voc(an_object("&e9;", (1, 1, 2, 2)))
        put(convert.source / "Annotations/a.xml", f"<!DOCTYPE a [{entities}]>{text}")
        assert "has a DOCTYPE, which is refused" in convert.refused("voc")


CAR = "Car 0.00 0 -1.58 10.50 5.25 30.00 25.75 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"
DONT_CARE = "DontCare -1 -1 -10 1.00 1.00 9.00 9.00 -1 -1 -1 -1000 -1000 -1000 -10"


@pytest.mark.parametrize(
    "labels, images", [("training/label_2", "training/image_2"), ("labels", "images")]
)
def test_kitti_of_the_benchmark_and_of_tao(convert: Converter, labels: str, images: str) -> None:
    root = convert.source
    put(root / labels / "000001.txt", f"{CAR}\n{DONT_CARE}\n{CAR.replace('Car', 'Van')} 0.9\n")
    put(root / labels / "deep/000001.txt", "")
    for name in ("000001", "deep/000001", "000002"):
        put_image(root / images / f"{name}.png", seed=len(name))
    assert convert.done("kitti") == {
        "000001.png": [("Car", 10.5, 5.25, 19.5, 20.5), ("Van", 10.5, 5.25, 19.5, 20.5)],
        "deep/000001.png": [],
    }
    assert "DontCare regions were left out" in convert.out
    assert "nobody has looked at them: 1." in convert.out


@pytest.mark.parametrize(
    "line, said",
    [
        (f"0 2 {CAR}", "line 1 is of KITTI's tracking"),
        ("Car 0.00 0 -1.58 10.50", "line 1 has 5 fields"),
        (CAR.replace("10.50", "left"), "left is 'left', which is no number"),
    ],
)
def test_kitti_lines_that_are_none(convert: Converter, line: str, said: str) -> None:
    put_image(convert.source / "images/a.jpg")
    put(convert.source / "labels/a.txt", line)
    assert said in convert.refused("kitti")
