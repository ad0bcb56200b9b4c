"""Files of models: what each says about itself, and how it is read and written; none is run here.

`info.py` says what is known of any of them, and what a `Detector` is.
"""
