"""Copies of data, each in a folder of its own that never changes once it is whole.

A copy's name follows from what is copied, so whoever tries again finds what is there
already. Beside the copies lie notes of what belongs to each: only what such a note
names is ever deleted, and nothing reads a copy before it was compared with its source.

    <bucket_path>/<database>/<table>/<copy>/...                  the data
    <bucket_path>/<database>/<table>/_flytelineage/<copy>.json   its note
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count

from flytelineage.entities import Value
from flytelineage.errors import PermanentTargetError, TransientTargetError
from flytelineage.targets.glue.crew import Crew
from flytelineage.targets.glue.places import Place
from flytelineage.targets.glue.s3 import MULTIPART_BYTES, Changed, Object, ObjectStore
from flytelineage.targets.glue.text import fingerprint

_ROUNDS = 3
"""How often data is listed again that changed while it was copied."""


_ABANDONED = timedelta(hours=6)
"""After so long nobody is at work on an object any more."""


class Missing(PermanentTargetError):
    """There is nothing to copy."""


_NOTES = "_flytelineage/"
_CHECKSUMS = (
    "ChecksumCRC64NVME", "ChecksumCRC32", "ChecksumCRC32C", "ChecksumSHA1", "ChecksumSHA256",
)  # fmt: skip

Sizes = Mapping[str, tuple[int, str]]
"""Bytes and ETag of objects, by their names in the folder."""


class Note(Value):
    """What belongs to a copy.

    Attributes:
        source: Where the data was copied from.
        planned: Each object as it lies in the source.
        written: Each object as it lies in the copy; `None` until all were compared.
    """

    source: str
    planned: Sizes
    written: Sizes | None = None


@dataclass(frozen=True)
class Copy:
    """A copy that is made or to be made; `folder` holds it and nothing else."""

    id: str
    folder: Place
    note: Place


@dataclass(frozen=True)
class Bounds:
    """What is copied at most for one table at one time; 0 is no bound."""

    bytes: int
    objects: int
    concurrency: int


class Copier:
    """Makes and removes the copies of tables.

    Args:
        store: The calls to S3.
        root: The folder of all copies; an attribute, too.
        bounds: What is copied at most.
        salt: What copies of the same data differ in, such as their key.
        catalogue: Whose tables they are for. Tables of another one may have the same names
            and so the same folder: its copies are neither used nor seen.
    """

    def __init__(
        self,
        store: ObjectStore,
        root: Place,
        bounds: Bounds,
        *,
        salt: str = "",
        catalogue: str = "",
    ) -> None:
        self._store = store
        self.root = root
        self._bounds = bounds
        self._salt = salt
        self._owner = fingerprint(catalogue)[:8]

    def home(self, database: str, table: str) -> Place:
        """The folder of all copies of a table."""
        return self.root.below(f"{database}/{table}/")

    def check(self) -> None:
        """Look whether copies can be found at all."""
        self._store.listed(self.root, ours=True, limit=1)

    # --------------------------------------------------------------------- making

    def make(self, source: Place, home: Place, avoid: Collection[str] = ()) -> Copy:
        """Copy data, unless that was done before; on return the copy is whole.

        Args:
            source: The data.
            home: The folder of the table's copies.
            avoid: Ids of copies that somebody may be removing right now.

        Raises:
            PermanentTargetError: There is nothing to copy, too much, or no right to.
            TransientTargetError: Try again; what was copied is found again.
            TargetUnavailable: Nothing can be written where copies are kept.
        """
        for _ in range(_ROUNDS):
            try:
                return self._made(source, home, avoid)
            except Changed:
                continue
        raise TransientTargetError(f"S3: {source} changes while it is copied: the copy differs")

    def _made(self, source: Place, home: Place, avoid: Collection[str]) -> Copy:
        objects = self._found(source)
        copy = self._name(source, objects, home, avoid)
        note = self._note(copy)
        if note is None or note.written != self._sizes(copy):
            planned = {name: (each.size, each.etag) for name, each in objects.items()}
            note = Note(source=str(source), planned=planned)
            self._write(copy, note)
            written = self._copied(objects, copy)
            if self._found(source) != objects:
                raise Changed
            self._write(copy, note.model_copy(update={"written": written}))
        return copy

    def _found(self, source: Place) -> dict[str, Object]:
        """What is to be copied, by its names in the copy."""
        bounds = self._bounds
        objects = self._store.listed(source, ours=False, limit=bounds.objects).objects
        size = sum(each.size for each in objects.values())
        if not objects:
            raise Missing(f"S3: nothing lies at {source} any more")
        if bounds.objects and len(objects) > bounds.objects:
            raise PermanentTargetError(
                f"S3: {source} has more than {bounds.objects} objects: raise "
                "GlueCatalogTarget.copy_limit_objects"
            )
        if bounds.bytes and size > bounds.bytes:
            raise PermanentTargetError(
                f"S3: {source} has {size} bytes, more than GlueCatalogTarget.copy_limit_bytes"
            )
        return _visible(objects)

    def _name(
        self, source: Place, objects: Mapping[str, Object], home: Place, avoid: Collection[str]
    ) -> Copy:
        content = [[name, each.size, each.etag] for name, each in sorted(objects.items())]
        id = f"{self._owner}-{fingerprint([str(source), self._salt, content])}"
        names = (id if number == 1 else f"{id}-{number}" for number in count(1))
        return _copy(home, next(name for name in names if name not in avoid))

    def _copied(self, objects: Mapping[str, Object], copy: Copy) -> Sizes:
        """Copy what is not there yet; then compare all."""
        with Crew(self._bounds.concurrency) as crew:
            there, at = self._store.listed(copy.folder, ours=True)
            missing = self._different(crew, objects, there)
            if any(each.size > MULTIPART_BYTES for each in missing.values()):
                # One that is younger may be another process's, which is at it right now.
                self._store.abort_uploads(copy.folder, begun_before=at - _ABANDONED)
            targets = {copy.folder.below(name): each for name, each in missing.items()}
            self._store.copy(crew, targets)
            there = self._store.listed(copy.folder, ours=True).objects
            different = self._different(crew, objects, there)
        if different:
            raise Changed
        if foreign := sorted(there.keys() - objects.keys()):
            raise PermanentTargetError(
                f"S3: {there[foreign[0]].place} is not ours, and would be read with the copy: "
                "move it away"
            )
        return _sizes(there)

    def _different(
        self, crew: Crew, objects: Mapping[str, Object], there: Mapping[str, Object]
    ) -> dict[str, Object]:
        """What of the data is not in the copy, or is not the same there."""
        unlike = [name for name, each in objects.items() if not _alike(each, there.get(name))]
        doubtful = [name for name in unlike if name in there]
        same = crew.each(lambda name: (name, self._same(objects[name], there[name])), doubtful)
        fine = {name for name, is_same in same if is_same}
        return {name: objects[name] for name in unlike if name not in fine}

    def _same(self, source: Object, there: Object) -> bool:
        """Whether two objects with different ETags agree in all that can be compared.

        ETags differ when one side is encrypted with a key of KMS or was made in parts.
        """
        if source.size != there.size:
            return False
        ours = self._store.head(there.place, ours=True)
        theirs = self._store.head(source.place, ours=False)
        checksums = [(ours.get(key), theirs.get(key)) for key in _CHECKSUMS]
        comparable = [pair for pair in checksums if all(pair) and "-" not in f"{pair[0]}{pair[1]}"]
        if comparable:
            return all(one == other for one, other in comparable)
        return not (_digested(ours) and _digested(theirs))

    # ---------------------------------------------------------------------- notes

    def ids(self, home: Place) -> tuple[set[str], datetime]:
        """All copies of our table, finished or not, and the time by the clock of S3."""
        found = self._store.listed(home.below(_NOTES), ours=True)
        ids = {name.removesuffix(".json") for name in found.objects}
        return {id for id in ids if id.startswith(f"{self._owner}-")}, found.at

    def _note(self, copy: Copy) -> Note | None:
        body = self._store.read(copy.note)
        try:
            return None if body is None else Note.model_validate_json(body)
        except ValueError:
            return None

    def _write(self, copy: Copy, note: Note) -> None:
        self._store.write(copy.note, note.model_dump_json().encode())

    def _sizes(self, copy: Copy) -> Sizes:
        return _sizes(self._store.listed(copy.folder, ours=True).objects)

    # ------------------------------------------------------------------- removing

    def remove(self, home: Place, id: str) -> list[str]:
        """Delete a copy that nothing points at; safe to repeat.

        Returns:
            What lies in its folder and is not as the note says: that stays.
        """
        copy = _copy(home, id)
        note = self._note(copy)
        if note is None:
            return []
        there = self._store.listed(copy.folder, ours=True).objects
        ours = [each for name, each in there.items() if _is_ours(note, name, each)]
        self._store.delete(each.place for each in ours)
        if any(size > MULTIPART_BYTES for size, _ in note.planned.values()):
            self._store.abort_uploads(copy.folder)
        # Last, because without it nothing would say what is left to delete.
        self._store.delete([copy.note])
        return sorted(str(each.place) for each in there.values() if each not in ours)


def _copy(home: Place, id: str) -> Copy:
    return Copy(id, home.below(f"{id}/"), home.below(f"{_NOTES}{id}.json"))


def id_of(location: str, home: Place) -> str | None:
    """Which copy a location is; `None` when it is none of this table."""
    name = location.removeprefix(str(home)).rstrip("/")
    return name if location.startswith(str(home)) and _ID.fullmatch(name) else None


_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{16}(?:-\d+)?")


def _visible(objects: dict[str, Object]) -> dict[str, Object]:
    """Names that Athena reads: it takes flytekit's `.csv` for a hidden file."""
    named = {_BARE.sub(r"\1data\2", name): each for name, each in objects.items()}
    return named if len(named) == len(objects) else objects


_BARE = re.compile(r"(^|/)(\.(?:csv|jsonl?|parquet))$")


def _sizes(objects: Mapping[str, Object]) -> dict[str, tuple[int, str]]:
    return {name: (each.size, each.etag) for name, each in objects.items()}


def _alike(source: Object, there: Object | None) -> bool:
    return there is not None and (source.size, source.etag) == (there.size, there.etag)


def _digested(about: Mapping[str, object]) -> bool:
    """Whether an object's ETag is the MD5 of its bytes."""
    plain = about.get("ServerSideEncryption") in (None, "AES256")
    return plain and "SSECustomerAlgorithm" not in about and "-" not in str(about.get("ETag"))


def _is_ours(note: Note, name: str, each: Object) -> bool:
    if note.written is not None:
        return note.written.get(name) == (each.size, each.etag)
    return note.planned.get(name, (None,))[0] == each.size
