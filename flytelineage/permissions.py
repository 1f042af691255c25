"""What AWS must allow: statements of policies, as values.

Each part of the program that calls AWS says which rights its calls need with the
options it has; nobody else knows. Here is only how a statement is spelled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

VERSION = "2012-10-17"
"""Of the language of policies. Source: IAM user guide, Version."""

Condition = tuple[str, str, tuple[str, ...]]
"""An operator, a key, and the values of which one must fit."""

_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}
_SUFFIXES = {"aws-cn": "amazonaws.com.cn", "aws-eusc": "amazonaws.eu"}
_ARN = re.compile(r"(arn:[\w-]+:\w+:[^:]*:)\*(:.*)")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy.

    Attributes:
        sid: What it is for; letters and digits.
        actions: What may be called, as `service:Action`.
        resources: On what: ARNs, in which `*` stands for any characters.
        conditions: All of them must hold.
        principal: Who is meant, in policies of resources.
        allow: False forbids, whatever other statements allow.
    """

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    principal: tuple[str, str] | None = None
    allow: bool = True

    def of_account(self, account: str) -> Statement:
        """The same, with an account's number in ARNs that leave it open."""
        filled = (_ARN.sub(rf"\g<1>{account}\g<2>", arn) for arn in self.resources)
        return replace(self, resources=tuple(filled))

    def renamed(self, sid: str) -> Statement:
        """The same by another name."""
        return replace(self, sid=sid)

    def document(self) -> dict[str, Any]:
        """As policies spell it."""
        document: dict[str, Any] = {"Sid": self.sid, "Effect": "Allow" if self.allow else "Deny"}
        if self.principal:
            kind, who = self.principal
            document["Principal"] = who if who == "*" else {kind: who}
        document |= {"Action": list(self.actions), "Resource": list(self.resources)}
        if self.conditions:
            document["Condition"] = _conditions(self.conditions)
        return document


def policy(statements: Iterable[Statement]) -> dict[str, Any]:
    """A policy of these statements."""
    return {"Version": VERSION, "Statement": [one.document() for one in statements]}


def _conditions(conditions: Sequence[Condition]) -> Mapping[str, Mapping[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for operator, key, values in conditions:
        found.setdefault(operator, {})[key] = values[0] if len(values) == 1 else list(values)
    return found


def partition(region: str) -> str:
    """The part of AWS that a region belongs to, as ARNs name it."""
    return next((name for start, name in _PARTITIONS.items() if region.startswith(start)), "aws")


def of_key(arn: str, actions: Sequence[str], *, sid: str, via: Sequence[str]) -> Statement:
    """The right to use a key of KMS, through other services alone.

    Args:
        arn: Of the key, or of an alias; an alias is no resource of policies, so then it
            is the keys that have it.
        actions: Without `kms:`.
        sid: What it is for.
        via: Services that use the key for us, e.g. `s3`; only in its own region they can.
    """
    _, part, _, region, *_ = arn.split(":")
    hosts = tuple(f"{one}.{region}.{_SUFFIXES.get(part, 'amazonaws.com')}" for one in via)
    services = (("StringEquals", "kms:ViaService", hosts),)
    whose, _, alias = arn.partition(":alias/")
    named = (
        (("ForAnyValue:StringEquals", "kms:ResourceAliases", (f"alias/{alias}",)),) if alias else ()
    )
    return Statement(
        sid,
        tuple(f"kms:{action}" for action in actions),
        (f"{whose}:key/*" if alias else arn,),
        (*services, *named),
    )


def senders(queue: str, topics: Sequence[str]) -> list[Statement]:
    """The policy of the queue: these topics may send to it, and nobody else."""
    return [
        Statement(
            "TopicsSend",
            ("sqs:SendMessage",),
            (queue,),
            (("ArnEquals", "aws:SourceArn", tuple(topics)),),
            principal=("Service", "sns.amazonaws.com"),
        ),
        # Roles of the queue's own account need no leave of the queue, so they are forbidden.
        Statement(
            "NobodyElseSends",
            ("sqs:SendMessage",),
            (queue,),
            (("ArnNotEquals", "aws:SourceArn", tuple(topics)),),
            principal=("AWS", "*"),
            allow=False,
        ),
        _encrypted("sqs:*", queue),
    ]


def publishers(topic: str, role: str) -> list[Statement]:
    """The policy of a topic: this role may publish to it, and nobody else."""
    others = (("ArnNotEquals", "aws:PrincipalArn", (role,)),)
    return [
        Statement("FlyteAdminPublishes", ("sns:Publish",), (topic,), principal=("AWS", role)),
        Statement(
            "NobodyElsePublishes",
            ("sns:Publish",),
            (topic,),
            others,
            principal=("AWS", "*"),
            allow=False,
        ),
        _encrypted("sns:Publish", topic),
    ]


def _encrypted(action: str, resource: str) -> Statement:
    return Statement(
        "NothingInTheClear",
        (action,),
        (resource,),
        (("Bool", "aws:SecureTransport", ("false",)),),
        principal=("AWS", "*"),
        allow=False,
    )
