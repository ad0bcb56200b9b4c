"""Schemas of the models: the form that a CRD takes (`openapi`), a key's full text (`describe`).

Knows no key and no resource by name: it is handed models and fields.
"""
