"""Gates: no file made of a model is published that was not compared with what it was made from.

`compare.py` puts two forms of one model side by side on the same images, `scoring.py` says how they
are scored, `publishing.py` puts the new file in its place or withdraws an older one.
"""
