"""Migrations of the store; revision ids are `major.minor` of the schema.

A minor step must be survived by the release before it, since replicas are replaced one
by one: add tables and columns that may be NULL, never rename or drop. Anything else is
a new major version, which older releases refuse.
"""
