"""What to do about a DinoJob. `decide.plan` is the decision; a module for each stage and obstacle.

Knows nothing of the inside of a search: it makes a DinoAutoML and copies what that says.
"""
