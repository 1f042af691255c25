"""A FlyteAdmin on loopback: a real gRPC server that knows what the simulator played.

```python
with FlyteAdminDouble([stream]) as double:
    admin = FlyteAdmin(endpoint=double.endpoint, insecure=True)
    ...
    double.script("GetExecution", [Fault("UNAVAILABLE")])  # the next call fails
    double.always = Fault("UNAUTHENTICATED")  # all fail, until it is None again
    assert double.calls["GetExecution"] == 2
```

It keeps what Admin's database keeps: the last state of each node, also of what was
never published. With `client_secret` it wants tokens, which an identity provider on
another port gives. Left out: everything that writes, and access per project.
"""

from flytelineage.testing.flyteadmin.database import Database
from flytelineage.testing.flyteadmin.server import NO_FAULT, Fault, FlyteAdminDouble
from flytelineage.testing.flyteadmin.tokens import IdentityProvider

__all__ = ["NO_FAULT", "Database", "Fault", "FlyteAdminDouble", "IdentityProvider"]
