"""A credentials endpoint on loopback, as containers on AWS have one.

boto3 finds it by `environment`, asks it for temporary credentials, and asks again when
these are about to expire. Each answer holds another key, so that a double of a service
sees by which credentials it is asked.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from flytelineage.testing.http import Fault, Handler, HttpDouble


class CredentialsDouble(HttpDouble):
    """Issues `key-1`, `key-2` and so on.

    Attributes:
        issued: How many credentials were given out.
        lifetime: How long those given out next are said to last. botocore renews what
            ends within ten minutes before it makes the next call.
    """

    def __init__(self) -> None:
        super().__init__(_Answer, token=None, max_bytes=0)
        self.issued = 0
        self.lifetime = timedelta(hours=6)

    @property
    def environment(self) -> dict[str, str]:
        """What leads boto3 here, where no other credentials are set."""
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/credentials"}

    def issue(self) -> dict[str, str] | Fault:
        """The next credentials, or what the script has instead."""
        with self._lock:
            if fault := self.next_fault():
                return fault
            self.issued += 1
            return {
                "AccessKeyId": f"key-{self.issued}",
                "SecretAccessKey": "double",
                "Token": f"token-{self.issued}",
                "Expiration": (datetime.now(timezone.utc) + self.lifetime).isoformat(),
            }


class _Answer(Handler):
    def do_GET(self) -> None:  # noqa: N802 - the library's name
        """Give out credentials."""
        answer = self.double.issue()
        if isinstance(answer, Fault):
            self.fail(answer, {"message": answer.message})
        else:
            self.answer(200, answer)
