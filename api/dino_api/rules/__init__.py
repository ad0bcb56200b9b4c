"""Everything that is checked, as tables of rules by what they are about; `catalogue` lists all.

The experiment (Python and CEL side by side), the resource around it (CEL), the search of a
DinoAutoML, and the data itself. A rule holds words and a condition; who applies it lies elsewhere.
"""
