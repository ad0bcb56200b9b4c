"""What `dino evaluate` makes of detections: numbers, curves, pictures and a page.

`statistics` decides nothing about files and `page` nothing about numbers: start with `Evaluation`
in `statistics`. The twelve COCO statistics come from `dino_trainer.scoring.scorer.Scorer`.
"""
