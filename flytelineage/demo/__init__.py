"""What `flytelineage demo` shows: a platform that never was, and what was found of it.

The command directs; here are its parts. None of them knows the daemon: they publish
what FlyteAdmin would, and read what the targets were told.
"""
