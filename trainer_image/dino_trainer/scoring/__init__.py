"""Finding objects in a data set, and what the detections are worth: COCO's numbers and our own.

Arrays in, numbers out; pages and pictures are made in `evaluation`.
"""
