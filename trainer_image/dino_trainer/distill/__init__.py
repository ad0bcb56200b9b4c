"""Distillation: a student that learns from a trained detector beside learning from annotations.

Start at `objective.py` (what a step minimises). `bindings.py` says which outputs should agree,
`teacher.py` what the teacher is and which of its queries count, `assignment.py` which query of the
student answers which of the teacher's, `features.py` how modules inside the two are compared.

The loop, the checkpoints and the validations are those of `dino_trainer.train`.
"""
