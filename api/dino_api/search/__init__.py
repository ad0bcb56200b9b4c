"""The search of a DinoAutoML, resolved: what is searched, and what a draw makes of the experiment.

Pure: no clock, no file, no network, no random number. `resolve_search` reads a spec, `assign` turns
what a sampler drew into the experiment of a trial; both engines and the trainer use the same two.
"""

from dino_api.search.assignment import active, assign, in_lines, typed
from dino_api.search.resolve import InvalidSearch, Search, resolve_search
from dino_api.search.space import default_space, kind_of, searchable

__all__ = [
    "InvalidSearch",
    "Search",
    "active",
    "assign",
    "default_space",
    "in_lines",
    "kind_of",
    "resolve_search",
    "searchable",
    "typed",
]
