"""From images without annotations to labels, pictures and a report.

Images stream through: what is found in one is written and forgotten before the end is known.
"""
