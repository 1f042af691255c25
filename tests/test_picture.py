"""The picture of the lineage: what it shows, and that it stays readable."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from flytelineage.demo import letters, picture, stacks
from flytelineage.demo.cards import CARD, Deck, Key
from flytelineage.demo.found import Found
from flytelineage.demo.layout import GUTTER, Layout
from flytelineage.demo.stacks import Link
from flytelineage.entities import (
    IO,
    Dataset,
    DatasetId,
    DataType,
    Edge,
    Evidence,
    ExecutionId,
    Field,
    Lineage,
    Pipeline,
    PipelineId,
    Profile,
    Run,
    Schema,
    Task,
    TaskEdge,
    TaskId,
)

DATA = (Evidence.DATA,)
LAKE = DatasetId(platform="s3", name="lake/raw/orders.csv")


def task(
    name: str,
    *reads: DatasetId | str,
    writes: tuple[DatasetId, ...] | None = None,
    pipeline: str = "shop.sales",
    evidence: tuple[Evidence, ...] = DATA,
    after: tuple[tuple[str, Evidence], ...] = (),
) -> Task:
    """A task that reads others' `o0`, or whatever is named, and writes its own."""
    me = id_of(name, pipeline)
    inputs = [output(each, pipeline) if isinstance(each, str) else each for each in reads]
    outputs = [output(name, pipeline)] if writes is None else writes
    return Task.of(
        me,
        io=IO(
            inputs=tuple(Edge(dataset=id, evidence=evidence) for id in inputs),
            outputs=tuple(Edge(dataset=id, evidence=DATA) for id in outputs),
            upstream=tuple(
                TaskEdge(task=id_of(other, pipeline), evidence=(word,)) for other, word in after
            ),
        ),
    )


def id_of(name: str, pipeline: str = "shop.sales") -> TaskId:
    owner = PipelineId(project="shop", domain="production", name=pipeline)
    return TaskId(pipeline=owner, name=f"shop.{name}")


def output(name: str, pipeline: str = "shop.sales", variable: str = "o0") -> DatasetId:
    return DatasetId(platform="flyte", name=f"{id_of(name, pipeline)}.{variable}")


def lineage(*tasks: Task, datasets: tuple[Dataset, ...] = ()) -> Lineage:
    pipelines = dict.fromkeys(each.pipeline for each in tasks)
    name = "-".join(id.name for id in pipelines)
    execution = ExecutionId(project="shop", domain="production", name=name)
    return Lineage(
        execution=execution,
        phase="SUCCEEDED",
        pipelines=tuple(map(Pipeline.of, pipelines)),
        tasks=tasks,
        datasets=datasets,
        runs=(Run(execution=execution, phase="SUCCEEDED"),),
    )


def drawn(*lineages: Lineage) -> str:
    return picture.draw(Found(lineages))


def texts(svg: str, tag: str = "text") -> list[str]:
    """Everything that is written, or all titles."""
    found = ElementTree.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{tag}")
    return [element.text or "" for element in found]


def ways(svg: str) -> list[str]:
    """The classes of all arrows but the legend's, which have no title."""
    return re.findall(r'<path class="way ([a-z ]+)"[^>]*><title>', svg)


# ------------------------------------------------------------------- what it shows


def test_a_dataset_stands_on_the_card_of_its_writer() -> None:
    """With its columns and rows; what nobody wrote has a card of its own."""
    columns = tuple(Field(name=name, type=DataType(kind="int")) for name in ("id", "amount"))
    data = Dataset.of(output("load"), schema=Schema(fields=columns), profile=Profile(rows=7))

    svg = drawn(lineage(task("load", LAKE), task("show", "load", writes=()), datasets=(data,)))

    assert texts(svg)[:9] == [
        "1 pipeline, 2 tasks, 2 datasets: what the events of 1 execution tell",
        "shop.sales",
        "shop/production · 1 succeeded",
        "load",
        "o0",
        "7 rows",
        "id, amount",
        "show",
        "orders.csv",
    ]


def test_a_dataset_that_two_pipelines_read_is_drawn_once() -> None:
    """Two arrows leave it."""
    svg = drawn(lineage(task("load", LAKE)), lineage(task("load", LAKE, pipeline="shop.other")))

    assert texts(svg).count("orders.csv") == 1
    assert ways(svg) == ["data", "data"]


def test_what_one_pipeline_gives_another_stands_out() -> None:
    """Those are the arrows that nobody sees in Flyte's own console."""
    given = output("load")
    svg = drawn(lineage(task("load")), lineage(task("show", given, pipeline="shop.other")))

    assert ways(svg) == ["data between"]
    assert "between pipelines" in texts(svg)


@pytest.mark.parametrize(
    ("evidence", "kind"),
    [
        ((Evidence.DATA,), "data"),
        ((Evidence.DEFINITION, Evidence.DATA), "data"),
        ((Evidence.SQL,), "data"),
        ((Evidence.DEFINITION,), "definition"),
        ((Evidence.DEFINITION, Evidence.ORDER), "definition"),
        ((Evidence.ORDER,), "order"),
    ],
)
def test_an_arrow_is_as_solid_as_its_evidence(evidence: tuple[Evidence, ...], kind: str) -> None:
    """Whole, dashed or dotted; and the legend explains no more than what is drawn."""
    svg = drawn(lineage(task("load", LAKE, evidence=evidence)))

    assert ways(svg) == [kind]
    assert svg.count(f'class="way {kind}"') == svg.count('class="way') == 2


def test_an_order_is_drawn_where_no_dataset_joins_two_tasks() -> None:
    """Else it would be said twice."""
    last = task("last", "first", after=(("first", Evidence.DATA), ("aside", Evidence.ORDER)))

    assert ways(drawn(lineage(task("first"), task("aside"), last))) == ["data", "order"]


def test_a_second_writer_points_at_the_dataset() -> None:
    """It stands with the first one."""
    svg = drawn(lineage(task("one", writes=(LAKE,)), task("two", writes=(LAKE,))))

    assert texts(svg).count("orders.csv") == 1
    assert ways(svg) == ["data"]


def test_what_has_no_room_is_told_where_the_pointer_rests() -> None:
    """Long names are cut, and so is a long list of outputs."""
    name = "a_name_that_is_much_too_long_for_any_card"
    many = tuple(output(name, variable=f"v{at}") for at in range(10))

    svg = drawn(lineage(task(name, writes=many)))

    assert any(text.startswith("a_name_that") and text.endswith("…") for text in texts(svg))
    assert f"shop.{name}" in texts(svg, "title")
    assert "and 4 more" in texts(svg)
    assert "v6\nv7\nv8\nv9" in texts(svg, "title")


def test_names_may_hold_anything() -> None:
    """XML takes no control characters, not even escaped ones."""
    svg = drawn(lineage(task("load", DatasetId(platform="<&>", name='lake/"a"\x00<b>]]>\ud800'))))

    assert '"a"\ufffd<b>]]>\ufffd' in texts(svg)
    assert svg.encode("utf-8")


def test_without_any_lineage_it_is_still_a_picture() -> None:
    assert texts(drawn()) == ["0 pipelines, 0 tasks, 0 datasets"]


def test_it_is_readable_by_day_and_by_night() -> None:
    """Every colour of the light style has its like in the dark one."""
    light, dark = drawn(lineage(task("load", LAKE))).split("@media (prefers-color-scheme: dark)")

    def coloured(style: str) -> set[str]:
        return set(re.findall(r"^([^{\n]+) \{[^}]*#[0-9a-f]{6}", style, re.MULTILINE))

    assert coloured(light) == coloured(dark.partition("</style>")[0]) != set()


# ------------------------------------------------------------------------ its order


def chain(length: int) -> list[Lineage]:
    steps = [task(f"step{at}", *[f"step{at - 1}"] * (at > 0)) for at in range(length)]
    return [lineage(*steps)]


def circles() -> list[Lineage]:
    """A table that is read and written, and pipelines that read from each other."""
    there, back = (DatasetId(platform="s3", name=f"lake/{name}") for name in ("there", "back"))
    return [
        lineage(task("upsert", LAKE, writes=(LAKE,)), task("more", LAKE, writes=(LAKE,))),
        lineage(
            task("one", back, writes=(there,), pipeline="shop.round"),
            task("two", there, LAKE, writes=(back,), pipeline="shop.round"),
        ),
        lineage(task("a", output("b", "shop.right"), pipeline="shop.left")),
        lineage(task("b", output("a", "shop.left"), pipeline="shop.right")),
    ]


def tangle(seed: int) -> list[Lineage]:
    """Thirty tasks of three pipelines that read whatever was there, and tables of others."""
    chance = random.Random(seed)
    names = [(f"task{at}", f"shop.p{chance.randrange(3)}") for at in range(30)]
    tables = [DatasetId(platform="postgres", name=f"db.public.t{at}") for at in range(4)]
    tasks = []
    for at, (name, pipeline) in enumerate(names):
        earlier = [output(*each) for each in names[max(0, at - 8) : at]] + tables
        reads = chance.sample(earlier, chance.randint(0, 3))
        tasks.append(task(name, *reads, pipeline=pipeline))
    owners = dict.fromkeys(each.pipeline for each in tasks)
    return [lineage(*(each for each in tasks if each.pipeline == owner)) for owner in owners]


CASES = [
    pytest.param(chain(14), id="chain"),
    pytest.param(circles(), id="circles"),
    *(pytest.param(tangle(seed), id=f"tangle {seed}") for seed in range(8)),
]


def cards_of(layout: Layout, deck: Deck) -> Iterator[tuple[Key, range, range]]:
    """The pixels of each card, across and down."""
    for key, card in deck.cards.items():
        x, y = (round(value) for value in (layout.cards[key].x, layout.cards[key].y))
        yield key, range(x, x + CARD), range(y, y + card.height)


def meet(one: range, two: range) -> bool:
    return one.start < two.stop and two.start < one.stop


@pytest.mark.parametrize("lineages", CASES)
def test_nothing_covers_anything(lineages: list[Lineage]) -> None:
    """Neither cards nor frames; a task stands in its own frame, other datasets in none."""
    deck = Deck(Found(lineages))
    layout = Layout(deck)
    cards = list(cards_of(layout, deck))
    frames = [
        (
            each.pipeline,
            range(round(each.x), round(each.x + each.width)),
            range(round(each.y), round(each.y + each.height)),
        )
        for each in layout.frames
    ]

    for things in (cards, frames):
        for one, two in combinations(things, 2):
            assert not (meet(one[1], two[1]) and meet(one[2], two[2])), (one, two)
    for key, across, down in cards:
        inside = [owner for owner, x, y in frames if meet(across, x) and meet(down, y)]
        assert inside == [owner for owner in [deck.cards[key].pipeline] if owner], key


@pytest.mark.parametrize("lineages", CASES)
def test_no_arrow_runs_over_a_card(lineages: list[Lineage]) -> None:
    """Bends are made between columns, and straight parts where no card stands."""
    deck = Deck(Found(lineages))
    layout = Layout(deck)

    for way in layout.ways:
        for one, two in pairwise(way):
            if one.y != two.y or one.heading != two.heading:
                assert abs(one.x - two.x) <= GUTTER
                continue
            across = range(round(min(one.x, two.x)), round(max(one.x, two.x)))
            for key, x, y in cards_of(layout, deck):
                assert not (meet(across, x) and y.start < one.y < y.stop - 1), key


@pytest.mark.parametrize("lineages", CASES)
def test_it_fits_a_page(lineages: list[Lineage]) -> None:
    """What would be wider is broken into lines."""
    assert Layout(Deck(Found(lineages))).width <= 1124


@pytest.mark.parametrize("lineages", CASES)
def test_equal_lineage_gives_equal_bytes(lineages: list[Lineage]) -> None:
    assert drawn(*lineages) == drawn(*reversed(lineages))


def test_arrows_run_to_the_right_where_there_is_no_circle() -> None:
    layout = Layout(Deck(Found(chain(4))))

    assert all(one.x < two.x for way in layout.ways for one, two in pairwise(way))


def test_pipelines_that_nothing_joins_stand_side_by_side() -> None:
    found = Found(lineage(task("only", pipeline=f"shop.p{at}")) for at in range(6))

    assert len({frame.y for frame in Layout(Deck(found)).frames}) == 1


# --------------------------------------------------------------------- its craftsmanship


def test_lines_are_untangled() -> None:
    columns = [["a", "b"], ["c", "d"]]
    links = [Link("a", "d", 0, 0), Link("b", "c", 0, 0)]

    found = stacks.ordered(columns, links)

    assert (stacks.crossings(columns, links), stacks.crossings(found, links)) == (1, 0)


def test_a_thing_stands_in_the_middle_of_its_neighbours() -> None:
    columns = [["a", "b", "c"], ["d"]]
    links = [Link(name, "d", 0, 0) for name in ("a", "b", "c")]

    found = stacks.tops(columns, links, dict.fromkeys("abcd", 20.0), gap=10)

    assert {name: round(top) for name, top in found.items()} == {"a": 0, "b": 30, "c": 60, "d": 30}


@pytest.mark.parametrize("room", [0, 20, 60, 400])
def test_a_text_is_never_wider_than_its_room(room: int) -> None:
    """Whichever end is kept; of one that fits, nothing is lost."""
    text = "shop.sales.本_pipeline"
    for keep_end in (False, True):
        shown = letters.fit(text, room, 12, keep_end=keep_end)

        assert letters.width(shown.strip("…"), 12) <= room
        assert (shown == text) == (letters.width(text, 12) <= room)


def test_what_is_left_out_of_a_list_is_counted() -> None:
    words = ["order_id", "customer", "amount", "at", "day"]

    assert letters.listed(words, 118, 9.5, 2) == ["order_id, customer,", "amount, at, day"]
    assert letters.listed(words, 80, 9.5, 2) == ["order_id,", "customer +3"]
    assert letters.listed([], 80, 9.5, 2) == []
