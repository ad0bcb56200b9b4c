"""What `dino evaluate` makes of its numbers: files, curves, pictures and a page.

Nothing here counts anything: the numbers come from `dino_trainer.scoring`, COCO's twelve from
`scorer.Scorer`, all others from `statistics`.
"""
