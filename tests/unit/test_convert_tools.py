"""`dino convert` of what CVAT, Datumaro, Label Studio and FiftyOne export.

Every number here was computed by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask

from tests.unit.convert_lab import Converter, convert, put, put_image, put_json

__all__ = ["convert"]
TURNED = "Turned boxes became the upright boxes around them: 1."
OUTLINED = "Polygons, ellipses and masks became the boxes around them: "


def cvat(*images: str, labels: tuple[str, ...] = ("zebra", "ant"), holder: str = "task") -> str:
    """As CVAT for images 1.1 writes it, with a skeleton's part among the labels."""
    listed = "".join(f"<label><name>{one}</name><attributes/></label>" for one in labels)
    listed += "<label><name>elbow</name><parent>arm</parent></label>"
    return (
        '<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta>'
        f"<{holder}><mode>annotation</mode><labels>{listed}</labels></{holder}></meta>"
        f"{''.join(images)}</annotations>"
    )


def image(name: str, *shapes: str, more: str = "") -> str:
    return f'<image id="0" name="{name}" width="80" height="40"{more}>{"".join(shapes)}</image>'


BOX = '<box label="ant" occluded="0" xtl="10.5" ytl="9" xbr="46" ybr="34" z_order="0"{}></box>'
SHAPES = (
    '<polygon label="zebra" points="8.0,10.5;40,10.5;20,30" z_order="0"></polygon>',
    '<ellipse label="zebra" cx="50" cy="20" rx="10" ry="4" rotation="90" z_order="0"></ellipse>',
    '<mask label="ant" rle="1, 2" left="3" top="4" width="5" height="6" z_order="0"></mask>',
)
NO_BOXES = ('<points label="ant" points="1,2"></points>', '<tag label="ant"></tag>')


def test_cvat_in_the_order_of_its_labels(convert: Converter) -> None:
    put_image(convert.source / "images/sub/a.jpg")
    put(convert.source / "annotations.xml", cvat(image("sub/a.jpg", BOX.format(""), *SHAPES)))
    boxes = [("ant", 10.5, 9, 35.5, 25), ("zebra", 8, 10.5, 32, 19.5), ("zebra", 46, 10, 8, 20),
             ("ant", 3, 4, 5, 6)]  # fmt: skip
    assert convert.done("cvat") == {"sub/a.jpg": boxes}
    assert convert.categories == {1: "zebra", 2: "ant"}
    assert OUTLINED + "3." in convert.out
    file = convert.source / "annotations.xml"
    assert convert.done("cvat", source=file) == {"sub/a.jpg": boxes}


def test_cvat_turned_boxes_become_those_around_them_and_are_counted(convert: Converter) -> None:
    """findings/cvat-turned-boxes.sh: 36 x 25 about (28, 21.5) by 30 degrees.

    Its width is 36 cos 30 + 25 sin 30 = 43.6769, its height 36 sin 30 + 25 cos 30 = 39.6506.
    """
    turned = BOX.replace("10.5", "10").format(' rotation="30.00"')
    put_image(convert.source / "images/a.jpg")
    put(convert.source / "annotations.xml", cvat(image("a.jpg", turned, *NO_BOXES)))
    assert convert.done("cvat") == {"a.jpg": [("ant", 6.1615, 1.6747, 43.6769, 39.6506)]}
    assert TURNED in convert.out
    assert "Shapes without a box were left out: 1 points, 1 tag." in convert.out


def test_cvat_subsets_of_a_project_are_splits(convert: Converter) -> None:
    images = []
    for subset, name in (("train", "a.jpg"), ("Validation", "b.jpg")):
        put_image(convert.source / "images" / subset / name)
        images.append(image(name, BOX.format(""), more=f' subset="{subset}" task_id="1"'))
    put(convert.source / "annotations.xml", cvat(*images, holder="project"))
    assert convert.run("cvat") == 0, convert.err
    assert (list(convert.boxes("train")), list(convert.boxes("val"))) == (["a.jpg"], ["b.jpg"])


def test_cvat_what_is_refused_is_named(convert: Converter) -> None:
    file = convert.source / "annotations.xml"
    put(file, cvat('<track id="0" label="ant"></track>'))
    assert "has tracks (`CVAT for video 1.1`)" in convert.refused("cvat")
    put(file, cvat(image("a.jpg")))
    assert "images that are not there: 'a.jpg'" in convert.refused("cvat")
    put_image(convert.source / "images/a.jpg")
    put(file, cvat(image("a.jpg", BOX.replace('"46"', '"wide"').format(""))))
    assert "image 'a.jpg', shape 1: xbr is 'wide', which is no number" in convert.refused("cvat")
    put(file, "<annotation/>")
    assert "is not of CVAT: it begins with <annotation>" in convert.refused("cvat")


def datumaro(*annotations: dict[str, Any], **item: Any) -> dict[str, Any]:
    """One subset as Datumaro 1.13 writes it; CVAT writes it, too."""
    labels = [{"name": name, "parent": "", "attributes": []} for name in ("zebra", "ant")]
    entry = {"id": "a", "annotations": list(annotations), "attr": {"frame": 0}}
    return {
        "dm_format_version": "1.0",
        "media_type": 2,
        "infos": {},
        "categories": {"label": {"labels": labels, "label_groups": [], "attributes": []}},
        "items": [{**entry, **(item or {"image": {"path": "a.jpg", "size": [40, 80]}})}],
    }


def shape(kind: str, **values: Any) -> dict[str, Any]:
    return {"id": 0, "type": kind, "attributes": {}, "group": 0, "label_id": 1, "z_order": 0,
            **values}  # fmt: skip


def test_datumaro_in_the_order_of_its_labels(convert: Converter) -> None:
    put_image(convert.source / "images/default/a.jpg")
    drawn = np.zeros((4, 4), np.uint8, order="F")
    drawn[1:3, 1:3] = 1
    rle = {"size": [4, 4], "counts": mask.encode(drawn)["counts"].decode()}
    annotations = (
        shape("bbox", bbox=[10.5, 9, 30, 20]),
        shape("bbox", bbox=[10, 10, 20, 10], attributes={"rotation": 90.0}),
        shape("polygon", points=[8.0, 10.5, 40, 10.5, 20, 30], label_id=0),
        shape("ellipse", points=[1, 2, 11, 8]),
        shape("mask", rle=rle),
        shape("points", points=[1, 2]),
        shape("bbox", bbox=[1, 2, 3, 4], label_id=None),
    )
    put_json(convert.source / "annotations/default.json", datumaro(*annotations))
    assert convert.done("datumaro") == {
        "a.jpg": [("ant", 10.5, 9, 30, 20), ("ant", 15, 5, 10, 20), ("zebra", 8, 10.5, 32, 19.5),
                  ("ant", 1, 2, 10, 6), ("ant", 1, 1, 2, 2)]
    }  # fmt: skip
    assert convert.categories == {1: "zebra", 2: "ant"}
    assert TURNED in convert.out
    assert OUTLINED + "3." in convert.out
    assert "left out: 1 points." in convert.out
    assert "Boxes without a class were left out: 1." in convert.out


def test_datumaro_subsets_are_splits_and_sizes_may_be_absent(convert: Converter) -> None:
    for subset in ("train", "val"):
        put_image(convert.source / f"images/{subset}/a.png", size=(50, 30))
        document = datumaro(shape("bbox", bbox=[1, 2, 3, 4]), image={"path": ""})
        put_json(convert.source / f"annotations/{subset}.json", document)
    assert convert.run("datumaro") == 0, convert.err
    for subset in ("train", "val"):
        assert convert.boxes(subset) == {"a.png": [("ant", 1, 2, 3, 4)]}
        assert convert.document(subset)["images"][0]["height"] == 30


def test_datumaro_what_is_refused_is_named(convert: Converter) -> None:
    file = convert.source / "annotations/default.json"
    put_json(file, datumaro(video={"path": "a.mp4"}))
    assert "items[0] is a video, which is not read" in convert.refused("datumaro")
    put_image(convert.source / "images/default/a.jpg")
    put_json(file, datumaro(shape("bbox", bbox=[1, 2, 3, 4], label_id=7)))
    assert "items[0].annotations[0]: label_id is 7" in convert.refused("datumaro")
    put_json(file, datumaro(shape("bbox", bbox=[1, 2, 3])))
    assert "annotations[0]: bbox is [1, 2, 3], where 4 numbers" in convert.refused("datumaro")
    put_json(file, datumaro(shape("mask", rle="of another tool")))
    assert "annotations[0]: rle is no mask of COCO" in convert.refused("datumaro")
    put_json(file, {"images": []})
    assert "is not of Datumaro: 'labels' is no list" in convert.refused("datumaro")
    put(file, '{"items": [')
    assert "is not JSON: Expecting value at line 1, column 12" in convert.refused("datumaro")


def region(kind: str = "rectanglelabels", id: str = "r", **value: Any) -> dict[str, Any]:
    """A result in percents of 80 x 40."""
    return {
        "id": id,
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": 80,
        "original_height": 40,
        "image_rotation": 0,
        "value": {"rotation": 0, kind: ["ant"], **value},
    }


def task(*results: dict[str, Any], address: str = "/data/upload/7/0a1b2c3d-a.jpg") -> Any:
    annotation = {"id": 5, "was_cancelled": False, "result": list(results)}
    return {"id": 1, "data": {"image": address}, "annotations": [annotation], "predictions": []}


RECTANGLE = {"x": 12.5, "y": 25, "width": 50, "height": 37.5}
IS_ANT = ("ant", 10, 10, 40, 15)


def test_label_studio_in_percents_turned_about_the_corner(convert: Converter) -> None:
    """(60 %, 50 %) of 80 x 40 is (48, 20); 30 % x 20 % is 24 x 8, turned 8 x 24 left of it."""
    file = convert.source / "project.json"
    results = (
        region(**RECTANGLE),
        region(x=60, y=50, width=30, height=20, rotation=90),
        region("ellipselabels", x=50, y=50, radiusX=25, radiusY=10),
        region("polygonlabels", points=[[10, 25], [50, 25], [25, 75]]),
        region("brushlabels", format="rle", rle=[1]),
    )
    put_image(convert.source / "images/0a1b2c3d-a.jpg")
    put_json(file, [task(*results)])
    assert convert.done("label-studio") == {
        "0a1b2c3d-a.jpg": [IS_ANT, ("ant", 40, 20, 8, 24), ("ant", 20, 16, 40, 8),
                           ("ant", 8, 10, 32, 20)]
    }  # fmt: skip
    assert TURNED in convert.out
    assert OUTLINED + "2." in convert.out
    assert "left out: 1 brushlabels." in convert.out


@pytest.mark.parametrize(
    "address",
    [
        "/data/upload/7/0a1b2c3d-a%20b.jpg",
        "/data/local-files/?d=photos/a%20b.jpg",
        "s3://bucket/photos/a%20b.jpg",
        "http://server/x/a%20b.jpg?token=1",
        "C:\\photos\\a b.jpg",
    ],
)
def test_label_studio_finds_images_by_whatever_address(convert: Converter, address: str) -> None:
    """The folder is named, since the export has no images."""
    put_image(convert.folder / "photos/a b.jpg")
    put_json(convert.source / "project.json", [task(region(**RECTANGLE), address=address)])
    assert "Name the folder that they lie in: --images DIR" in convert.refused("label-studio")
    found = convert.done("label-studio", "--images", str(convert.folder / "photos"))
    assert found == {"a b.jpg": [IS_ANT]}


def test_label_studio_labels_beside_regions_and_json_min(convert: Converter) -> None:
    put_image(convert.source / "a.jpg")
    names = {"id": "r", "type": "labels", "value": {**RECTANGLE, "labels": ["bee", "ant"]}}
    plain = region("rectangle", **RECTANGLE)
    del plain["value"]["rectangle"]
    lost = {**region("rectangle", id="s", **RECTANGLE), "value": dict(RECTANGLE)}
    put_json(convert.source / "p.json", [task(plain, names, lost, address="a.jpg")])
    assert convert.done("label-studio") == {"a.jpg": [("bee", 10, 10, 40, 15), IS_ANT]}
    assert convert.categories == {1: "ant", 2: "bee"}
    assert "Boxes without a class were left out: 1." in convert.out

    value = {**RECTANGLE, "rotation": 0, "rectanglelabels": ["ant"], "original_width": 80,
             "original_height": 40}  # fmt: skip
    put_json(convert.source / "p.json", [{"id": 3, "image": "a.jpg", "label": [value]}])
    assert convert.done("label-studio") == {"a.jpg": [IS_ANT]}


def test_label_studio_takes_what_was_submitted_and_the_ground_truth(convert: Converter) -> None:
    for name in "abc":
        put_image(convert.source / f"{name}.jpg")
    old, true, new = (
        {"result": [region(**{**RECTANGLE, "x": x})], "updated_at": time, "ground_truth": truth}
        for x, time, truth in ((0, "2026-01-01", 0), (12.5, "2026-02-01", 1), (1, "2026-03-01", 0))
    )
    tasks = [task(address=f"{name}.jpg") for name in "abc"]
    tasks[0]["annotations"] = [old, true, new]
    tasks[1]["annotations"] = [{"was_cancelled": True, "result": [region(**RECTANGLE)]}]
    put_json(convert.source / "p.json", tasks)
    assert convert.done("label-studio") == {"a.jpg": [IS_ANT], "c.jpg": []}
    assert "Tasks without an annotation were left out" in convert.out
    assert "Tasks with several annotations" in convert.out


def test_label_studio_json_min_has_a_record_for_each_annotation(convert: Converter) -> None:
    """Of a task's records the newest, as of a task's annotations."""
    put_image(convert.source / "a.jpg")
    put_image(convert.source / "b.jpg")
    records = [
        {"id": id, "annotation_id": at, "image": f"{name}.jpg", "updated_at": time,
         "label": [{**RECTANGLE, "x": x, "rectanglelabels": ["ant"], "original_width": 80,
                    "original_height": 40}]}
        for at, (id, name, time, x) in enumerate((
            (1, "a", "2026-01-01T00:00:00Z", 0), (1, "a", "2026-03-01T00:00:00Z", 12.5),
            (2, "b", "2026-01-01T00:00:00Z", 12.5), (1, "a", "2026-02-01T00:00:00Z", 1),
        ))
    ]  # fmt: skip
    put_json(convert.source / "p.json", records)
    assert convert.done("label-studio") == {"a.jpg": [IS_ANT], "b.jpg": [IS_ANT]}
    assert (
        "Tasks with several annotations: the ground truth was taken, else the newest one: 1."
        in (convert.out)
    )


def test_an_image_that_stands_twice_with_other_boxes_is_named(convert: Converter) -> None:
    put_image(convert.source / "a.jpg")
    tasks = [task(region(**{**RECTANGLE, "x": x}), address="a.jpg") for x in (0, 12.5)]
    put_json(convert.source / "p.json", tasks)
    said = convert.refused("label-studio")
    assert f"{convert.source / 'a.jpg'} stands twice in the export, each time with other" in said


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"data": [1]}, "task 1: data is [1], which is no object"),
        ({"data": None}, "task 1: data is None, which is no object"),
        ({"annotations": 7}, "task 1: annotations is 7, where a list belongs"),
        ({"annotations": [{"result": 7}]}, "task 1: result is 7, where a list belongs"),
        ({"data": {"image": "http://[a.png"}}, "images that are not there: 'http://[a.png'"),
    ],
)
def test_label_studio_tasks_of_another_shape(
    convert: Converter, fields: dict[str, Any], said: str
) -> None:
    put_json(convert.source / "p.json", [{**task(), **fields}])
    assert said in convert.refused("label-studio")


def test_label_studio_what_is_refused_is_named(convert: Converter) -> None:
    file = convert.source / "p.json"
    put_image(convert.source / "a.jpg")
    put_json(file, [task(region("videorectangle"), address="a.jpg")])
    assert "task 1, region 'r' is a videorectangle: videos" in convert.refused("label-studio")
    put_json(file, [task({**region(**RECTANGLE), "image_rotation": 90}, address="a.jpg")])
    assert "image_rotation is 90" in convert.refused("label-studio")
    put_json(file, [task(region(**{**RECTANGLE, "x": None}), address="a.jpg")])
    assert "region 'r': x is missing" in convert.refused("label-studio")
    put_json(file, [{"id": 9, "data": {"text": "words"}, "annotations": [{"result": []}]}])
    assert "task 9: none of its keys ('text') is known" in convert.refused("label-studio")
    put_json(file, {"images": []})
    assert "is no list of tasks" in convert.refused("label-studio")
    put_json(convert.source / "q.json", [])
    assert "must hold one .json file, and holds: p.json, q.json" in convert.refused("label-studio")


def sample(name: str, *detections: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "_id": {"$oid": "65"},
        "filepath": f"data/{name}",
        "tags": [],
        "metadata": {"_cls": "ImageMetadata", "width": 80, "height": 40, "num_channels": 3},
        "ground_truth": {"_cls": "Detections", "detections": list(detections)},
        **fields,
    }


def detection(label: Any = "ant") -> dict[str, Any]:
    return {"_cls": "Detection", "label": label, "bounding_box": [0.125, 0.25, 0.5, 0.375]}


def polylines(points: Any) -> dict[str, Any]:
    return {"_cls": "Polylines", "polylines": [{"label": "ant", "points": points}]}


def test_fiftyone_dataset_with_tags_as_splits(convert: Converter) -> None:
    predictions = {"_cls": "Detections", "detections": [detection("wrong")]}
    samples = [
        sample("a.jpg", detection(), tags=["validation", "night"], predictions=predictions),
        sample("b.jpg", tags=["train"]),
        sample("c.jpg", tags=["train"], ground_truth=None),
        sample("not-exported.jpg", ground_truth=None),
    ]
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        put_image(convert.source / "data" / name)
    put_json(convert.source / "samples.json", {"samples": samples})
    put_json(convert.source / "metadata.json", {"classes": {}, "default_classes": ["zebra", "ant"]})
    assert convert.run("fiftyone") == 0, convert.err
    assert (convert.boxes("val"), convert.boxes("train")) == ({"a.jpg": [IS_ANT]}, {"b.jpg": []})
    assert convert.categories == {1: "zebra", 2: "ant"}
    assert "Boxes are those of the field 'ground_truth'." in convert.out
    assert "Samples without labels (null) were left out: nobody has looked at them: 2." in (
        convert.out
    )


def test_fiftyone_polylines_of_the_only_field(convert: Converter) -> None:
    outline = {"label": "ant", "points": [[[0.1, 0.25], [0.5, 0.25]], [[0.25, 0.75]]]}
    samples = [
        sample("a.jpg", ground_truth=None, mine={"_cls": "Polylines", "polylines": [outline]})
    ]
    put_image(convert.source / "data/a.jpg")
    put_json(convert.source / "samples.json", {"samples": samples})
    assert convert.done("fiftyone") == {"a.jpg": [("ant", 8, 10, 32, 20)]}
    assert OUTLINED + "1." in convert.out


def test_fiftyone_image_detection_dataset(convert: Converter) -> None:
    """Names without ending, labels as numbers of `classes`, null where nobody has labelled."""
    labels: dict[str, Any] = {"sub/a": [detection(1)], "b": [], "c": None}
    for name in ("sub/a.jpg", "b.png", "c.jpg"):
        put_image(convert.source / "data" / name)
    put_json(convert.source / "labels.json", {"classes": ["zebra", "ant"], "labels": labels})
    assert convert.done("fiftyone") == {"b.png": [], "sub/a.jpg": [IS_ANT]}
    assert "(null) were left out: nobody has looked at them: 1." in convert.out
    assert convert.categories == {1: "zebra", 2: "ant"}
    put_json(convert.source / "labels.json", {"classes": None, "labels": {"b": [detection()]}})
    assert convert.done("fiftyone") == {"b.png": [IS_ANT]}


def test_fiftyone_what_is_refused_is_named(convert: Converter) -> None:
    convert.source.mkdir()
    assert "has neither samples.json nor labels.json" in convert.refused("fiftyone")
    put_image(convert.source / "data/a.jpg")
    put_json(convert.source / "labels.json", {"classes": ["ant"], "labels": {"a": [detection(3)]}})
    assert "'a'[0]: label is 3, and there are 1 classes" in convert.refused("fiftyone")
    fields = {name: {"_cls": "Detections", "detections": []} for name in ("mine", "yours")}
    samples = [{"filepath": "data/a.jpg", **fields}]
    put_json(convert.source / "samples.json", {"samples": samples})
    assert "several fields of boxes (mine, yours)" in convert.refused("fiftyone")
    put_json(convert.source / "samples.json", {"samples": [{"filepath": "data/a.jpg"}]})
    assert "no field of Detections" in convert.refused("fiftyone")


@pytest.mark.parametrize(
    "document, said",
    [
        ([detection()], "'labels' is no object"),
        (None, "'labels' is no object"),
        ({"labels": {"a": "ant"}}, "'a' is 'ant', where a list belongs"),
        ({"labels": {}, "classes": 7}, "classes is 7, where a list belongs"),
    ],
)
def test_fiftyone_labels_of_another_shape(convert: Converter, document: Any, said: str) -> None:
    put_image(convert.source / "data/a.jpg")
    put_json(convert.source / "labels.json", document)
    told = convert.refused("fiftyone")
    assert said in told
    assert "Export it as fo.types" in told


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"tags": 7}, "samples[0].tags is 7, where a list belongs"),
        ({"ground_truth": "ant"}, "samples[0].ground_truth is 'ant', which holds no boxes"),
        ({"ground_truth": {"_cls": "Detections", "detections": 7}}, "detections is 7, where a"),
        ({"ground_truth": polylines([None])}, "ground_truth[0]: points is empty"),
        ({"ground_truth": polylines(7)}, "ground_truth[0]: points is 7, where a list belongs"),
        ({"ground_truth": polylines([[[0, 0]], 7])}, "a part of points is 7, where a list"),
    ],
)
def test_fiftyone_samples_of_another_shape(
    convert: Converter, fields: dict[str, Any], said: str
) -> None:
    put_image(convert.source / "data/a.jpg")
    samples = [sample("a.jpg", **fields), sample("a.jpg")]
    put_json(convert.source / "samples.json", {"samples": samples})
    assert said in convert.refused("fiftyone")


def test_fiftyone_a_part_of_a_polyline_may_be_null(convert: Converter) -> None:
    put_image(convert.source / "data/a.jpg")
    parts = [None, [[0.1, 0.25], [0.5, 0.75]]]
    samples = [sample("a.jpg", ground_truth=polylines(parts))]
    put_json(convert.source / "samples.json", {"samples": samples})
    assert convert.done("fiftyone") == {"a.jpg": [("ant", 8, 10, 32, 20)]}


def test_a_packed_export_is_to_be_unpacked(convert: Converter) -> None:
    file = Path(convert.folder / "export.zip")
    file.write_bytes(b"PK\x03\x04" + bytes(40))
    assert convert.run("cvat", source=file) == 65
    assert "is a ZIP archive" in convert.err
    assert "python3 -m zipfile -e FILE DIR" in convert.err
