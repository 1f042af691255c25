"""How ids and texts are written into columns."""

from __future__ import annotations

import hashlib
import re

from flytelineage.entities import DatasetId, ExecutionId, PipelineId

MAX_KEY_CHARACTERS = 600
"""An index row of PostgreSQL holds 2,700 bytes, and a character has up to four."""

_SHORTENED = re.compile(rf"(?s).{{{MAX_KEY_CHARACTERS}}}#[0-9a-f]{{32}}")

MAX_TEXT_CHARACTERS = 4000
"""What is kept of an error or a reason."""


def execution_key(of: ExecutionId) -> str:
    """The key of an execution; only the instance may hold slashes."""
    return str(of)


def execution_id(key: str) -> ExecutionId:
    """The execution that `execution_key` wrote."""
    *instance, project, domain, name = key.rsplit("/", 3)
    return ExecutionId(
        instance=instance[0] if instance else "", project=project, domain=domain, name=name
    )


def id_text(value: PipelineId | DatasetId) -> str:
    """An id as text that leaves no doubt where its parts end."""
    return value.model_dump_json()


def short(key: str) -> str:
    """A key that every index can hold: what is too long ends in its hash.

    A key that was shortened stays as it is.
    """
    clean = _clean(key)
    if len(clean) <= MAX_KEY_CHARACTERS or _SHORTENED.fullmatch(clean):
        return clean
    digest = hashlib.blake2b(clean.encode(), digest_size=16).hexdigest()
    return f"{clean[:MAX_KEY_CHARACTERS]}#{digest}"


def scrubbed(text: str) -> str:
    """Free text that every database takes, and not endless."""
    return _clean(text[:MAX_TEXT_CHARACTERS])


def _clean(text: str) -> str:
    """Neither NUL nor lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
