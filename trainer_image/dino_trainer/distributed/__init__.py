"""One action in several processes.

`world.py` is what a process knows of the others and says to them, `group.py` the same where there
are others, `launcher.py` starts them. A process without peers never imports torch.distributed.
"""

from dino_trainer.distributed.world import World

__all__ = ["World"]
