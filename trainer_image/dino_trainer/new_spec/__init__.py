"""A first experiment spec for somebody's own data: what is there, what suits it, how it is said.

`coco_folder` finds the splits of a COCO folder and what is in them, `recipe` decides by these facts
and the machine alone, `template` writes the spec with comments that teach. It trains nothing, and
judges no data: that is the preflight's.
"""
