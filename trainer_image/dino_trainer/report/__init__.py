"""What a run tells the world while it works and when it ends.

`Reporter` is the one door: it feeds the terminal (`terminal.py`), `status.json` in TAO's form
(`status_file.py`), the resource in the cluster (`cluster.py`), and at the end `result.json` and the
pod's termination message. Reporting never ends a run: what cannot be reported is said once.
"""

from dino_trainer.report.reporter import Reporter

__all__ = ["Reporter"]
