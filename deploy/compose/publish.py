"""Plays FlyteAdmin for the trial: makes topic and queue, and publishes the sample workflows."""

from __future__ import annotations

import os
import sys

from flytelineage.demo.platform import Platform
from flytelineage.testing.aws import LocalAws


def main() -> None:
    """Publish each message once, as FlyteAdmin does, and say how many there were."""
    platform = Platform(LocalAws(endpoint_url=os.environ["AWS_ENDPOINT_URL"], environment={}))
    platform.create()
    played = platform.run_samples()
    messages = [message for execution in played for message in execution.messages()]
    for subject, text in messages:
        platform.publish(subject, text)
    sys.stdout.write(f"published {len(messages)} messages of {len(played)} executions\n")


if __name__ == "__main__":
    main()
