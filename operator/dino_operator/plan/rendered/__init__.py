"""What we make: objects for the API server, patches of them, and their names.

Each is a function of the resource, its resolved spec and the attempt. Whether it is made now is
decided in `job/` and `search/`.
"""
