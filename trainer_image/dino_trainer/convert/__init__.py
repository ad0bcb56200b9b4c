"""From what annotation tools write to the COCO folders that a training takes: `dino convert`.

Each format is one module with `read(source) -> Export`: images with their size and boxes in pixels,
and the names of the classes in their order. It knows nothing of COCO, splits and archives; the
writer knows nothing of formats. Nothing in here changes a source.
"""
