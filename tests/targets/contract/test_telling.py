"""What is not known changes nothing, what is over goes, and nothing is too odd or too much."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    DataType,
    Entity,
    ErrorInfo,
    Field,
    FormerEdges,
    Lineage,
    Link,
    Owner,
    Ownership,
    Pipeline,
    Properties,
    Run,
    Schema,
    Tags,
    Task,
)
from tests.factories import EXECUTION, NOW
from tests.targets.contract.entities import (
    OTHER_EXECUTION,
    PIPELINE,
    TASKS,
    dataset,
    dataset_id,
    edges,
    lineage,
    pipeline,
    run,
    short,
    task,
    task_id,
)
from tests.targets.contract.place import Place, named

FIRST, LAST = TASKS


def ids_alone() -> list[Entity]:
    told = lineage()
    return [
        *(Pipeline.of(each.id, as_of=NOW) for each in told.pipelines),
        *(Task.of(each.id, as_of=NOW) for each in told.tasks),
        *(Dataset.of(each.id, as_of=NOW) for each in told.datasets),
        Run(execution=OTHER_EXECUTION, as_of=NOW),
    ]


def parts(place: Place) -> Iterator[Entity]:
    """Every kind of entity, once for each aspect, with as little as the catalogue needs."""
    told = short()
    for entity in (told.pipelines[0], told.tasks[0], told.datasets[0]):
        for name, _ in entity.aspects():
            yield entity.only([name, *place.together(name)])


class TestUnknown:
    """`None` is not known: the catalogue keeps what it has."""

    def test_ids_alone_erase_nothing(self, place: Place) -> None:
        """An entity of which only the id is known leaves what was told before."""
        target = place.open()
        target.emit(lineage())
        before = place.told()

        rejections = target.emit(ids_alone())

        assert named(rejections) <= {f"run:{OTHER_EXECUTION}"}  # a run of nothing
        assert place.lost(before) == {}
        assert place.dangling() == set()

    def test_ids_alone_are_enough(self, place: Place) -> None:
        """They may also be the first that the catalogue hears."""
        rejections = place.open().emit(ids_alone())

        assert named(rejections) <= {f"run:{OTHER_EXECUTION}"}
        assert place.dangling() == set()

    def test_aspects_are_told_one_by_one(self, place: Place) -> None:
        """One that is told again takes away nothing of the others."""
        target = place.open()
        target.emit(short())
        before = place.told()

        for part in parts(place):
            rejections = target.emit([part])
            assert target.journal or rejections == []
            assert place.lost(before) == {}, str(part)

    def test_an_empty_lineage(self, place: Place) -> None:
        """There is nothing to say, and that is accepted."""
        target = place.open()
        target.emit(short())
        before = place.told()

        rejections = [target.emit([]), target.emit(Lineage(execution=OTHER_EXECUTION))]

        assert rejections == [[], []]
        assert place.lost(before) == {}


class TestAlone:
    """A library user emits entities; which of them are in one list is all the same."""

    def test_without_an_execution(self, place: Place) -> None:
        """Nothing is needed but the entities."""
        told = lineage()
        target = place.open()

        rejections = [target.emit([each]) for each in (*told.datasets, *told.tasks)]
        rejections.append(target.emit(told.pipelines))

        assert rejections == [[]] * 5
        assert all(name in json.dumps(place.told()) for name in TASKS)
        assert place.dangling() == set()


class TestFailed:
    """An execution that failed saw only some of its edges."""

    def test_it_takes_nothing_away(self, place: Place) -> None:
        """It tells its runs, with what happened; what a successful one told stays."""
        target = place.open()
        target.emit(lineage())
        before = place.told()

        rejections = target.emit(failed())

        assert rejections == []
        assert place.lost(before) == {}
        assert place.dangling() == set()

    def test_it_tells_no_edges(self, place: Place) -> None:
        """Not even where it says some."""
        target = place.open()
        target.emit(failed())
        runs_alone = place.edges()

        target.emit(failed(tasks=lineage().tasks))

        assert place.edges() == runs_alone == set()


def failed(**fields: object) -> Lineage:
    error = ErrorInfo(kind="user", code="ValueError", message="Grüße\nand \x00 more")
    about = {"execution": OTHER_EXECUTION, "phase": "FAILED", "error": error}
    known = {
        "execution": OTHER_EXECUTION,
        "phase": "FAILED",
        "started_at": NOW,
        "pipelines": (pipeline(),),
        "runs": (run(**about), run(LAST, **about)),
    }
    return Lineage(**{**known, **fields})


class TestOver:
    """What is no more goes, and what comes back is as before."""

    def test_former_edges(self, place: Place) -> None:
        """An edge that holds no longer is taken away, and no other one."""
        without = task(LAST, io=IO(outputs=edges([dataset_id(LAST)])))
        target = place.open()
        target.emit(lineage(tasks=(task(FIRST), without)))
        calm = place.edges()
        target.emit(lineage())
        more = place.edges()
        former = FormerEdges(inputs=(dataset_id(FIRST),), upstream=(task_id(FIRST),))

        rejections = target.emit([without.model_copy(update={"former": former})])

        assert rejections == []
        assert calm < more
        assert place.edges() == calm

    def test_former_edges_that_are_gone_already(self, place: Place) -> None:
        """To take away what nobody has is no error, whoever was faster."""
        former = FormerEdges(
            inputs=(dataset_id("other"),),
            outputs=(dataset_id("another"),),
            upstream=(task_id("other"),),
            columns=((dataset_id(LAST), "id", dataset_id(FIRST), "id"),),
        )
        target = place.open()
        target.emit(lineage())
        before = place.told()

        rejections = [target.emit([Task.of(task_id(LAST), former=former)]) for _ in range(2)]

        assert rejections == [[], []]
        assert place.lost(before) == {}

    @pytest.mark.parametrize("over", ["removed", "retired"])
    def test_a_task(self, place: Place, over: str) -> None:
        """It goes with its edges, and comes back with them."""
        target = place.open()
        target.emit(lineage())
        before = place.told()
        with_edges = edges_of(place, LAST)
        gone = Task.of(task_id(LAST), as_of=NOW, former=all_edges_of(LAST), **{over: True})

        rejections = target.emit([gone])
        without = edges_of(place, LAST)
        again = target.emit(lineage())

        assert (rejections, without, again) == ([], set(), [])
        assert place.lost(before) == {}
        assert edges_of(place, LAST) == with_edges
        assert target.journal or place.told() == before


def all_edges_of(name: str) -> FormerEdges:
    io = next(each.io for each in lineage().tasks if each.id == task_id(name))
    assert io is not None
    return FormerEdges(
        inputs=tuple(edge.dataset for edge in io.inputs),
        outputs=tuple(edge.dataset for edge in io.outputs),
        upstream=tuple(edge.task for edge in io.upstream),
    )


def edges_of(place: Place, name: str) -> set[tuple[str, str]]:
    """Those that begin or end at a task; none where there are no edges at all."""
    try:
        shown = place.edges()
    except pytest.skip.Exception:
        return set()
    return {edge for edge in shown if any(end.endswith(f",app.{name})") for end in edge)}


def test_thousands_of_entities(place: Place) -> None:
    """All of it arrives, in requests that are few, and no larger than servers take."""
    whole, tables = many()
    place.lay(tables)
    target = place.open()

    rejections = target.emit(whole)

    expected = [each.name for each in (*whole.tasks, *whole.datasets)]
    if "tasks" not in target.keeps:
        expected = [each.name.split(".")[-2] for each in tables]
    told = json.dumps(place.told())
    words = set(re.findall(r"[\w.]+", told))
    assert rejections == []
    assert [name for name in expected if name not in words and name not in told] == []
    assert place.steps.taken < sum(1 for _ in whole.entities())
    assert place.dangling() == set()


def many() -> tuple[Lineage, list[Dataset]]:
    """An execution of three thousand entities, and the few of them that may be tables."""
    names = [f"task{number}" for number in range(100)]
    outputs = {name: [dataset_id(name, f"o{at}") for at in range(28)] for name in names}
    tables = [dataset(dataset_id(name)) for name in names[:5]]
    others = {id for ids in outputs.values() for id in ids}.difference(each.id for each in tables)
    tasks = [
        Task.of(task_id(name), as_of=NOW, io=IO(outputs=edges(outputs[name]))) for name in names
    ]
    runs = [run(), *(run(name, outputs=tuple(outputs[name])) for name in names)]
    datasets = [*tables, *(Dataset.of(id, as_of=NOW) for id in sorted(others, key=str))]
    return lineage(tasks=tuple(tasks), datasets=tuple(datasets), runs=tuple(runs)), tables


ODD = [
    "with white\n\t space",
    "nul\x00 and \x1b[31mescape\x7f",
    "(urn:li:dataset,comma)",
    "␟%2C%25",
    "/../..//etc/",
    "'; DROP TABLE -- \"`$(x)`{y}",
    "Größe 注文 🚀 \u202egnol",
    "\u2028\u2029\ufeff",
    "x" * 3000,
    "ж" * 600,
    ".",
    "@",
    " ",
]


def test_odd_names(place: Place) -> None:
    """Whatever somebody calls things, the others arrive, and a repeat changes nothing."""
    plain = short()
    calm = place.calm(plain)
    odd = Lineage.of(odd_entities())
    target = place.open()
    whole = lineage(
        pipelines=(*plain.pipelines, *odd.pipelines),
        tasks=(*plain.tasks, *odd.tasks),
        datasets=(*plain.datasets, *odd.datasets),
        runs=(*plain.runs, *odd.runs),
    )

    rejections = target.emit(whole)
    before = place.told()
    again = target.emit(whole)

    assert named(rejections) <= {entity.urn for entity in odd.entities()}
    assert all(rejection.reason for rejection in rejections)
    assert again == rejections
    assert place.told() == before
    assert target.journal or place.lost(calm) == {}


def odd_entities() -> Iterator[Entity]:
    """Each odd text, wherever a text may be where a text may be."""
    for number, text in enumerate(ODD):
        pipeline = PIPELINE.model_copy(update={"name": text})
        id = task_id(LAST, pipeline).model_copy(update={"name": text, "place": text})
        flyte = DatasetId(platform="flyte", name=f"shop.production.{text}.{text}.{text}")
        foreign = DatasetId(platform="s3", name=f"bucket/{text}")
        said = odd_aspects(text)
        yield Pipeline.of(pipeline, as_of=NOW, kind=text, **said)
        yield Task.of(
            id,
            as_of=NOW,
            kind=text,
            io=IO(inputs=edges([foreign]), outputs=edges([flyte])),
            **said,
        )
        columns = Schema(fields=(Field(name=text, type=DataType(kind="string", native=text)),))
        for each in (flyte, foreign):
            yield Dataset.of(each, as_of=NOW, schema=columns, **said)
        yield Run(
            execution=EXECUTION,
            node=f"n{number}{text}",
            attempt=0,
            task=id,
            phase="FAILED",
            started_at=NOW,
            ended_at=NOW,
            error=ErrorInfo(code=text, message=text),
            links=(Link(name=text, url=f"http://logs/{text}"),),
            inputs=(foreign,),
            outputs=(flyte,),
        )


def odd_aspects(text: str) -> dict[str, object]:
    return {
        "properties": Properties(name=text, description=text, url=text, custom={text: text}),
        "ownership": Ownership(owners=(Owner(id=text, type=text),)),
        "tags": Tags(names=(text,)),
    }
