"""Sample workflows as teams have them, and one run of each: what `demo` publishes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from flytelineage.testing.simulator.kinds import (
    File,
    Folder,
    Frame,
    Kind,
    ListOf,
    Primitive,
    Record,
)
from flytelineage.testing.simulator.simulate import simulate
from flytelineage.testing.simulator.steps import Phase
from flytelineage.testing.simulator.storage import Storage
from flytelineage.testing.simulator.stream import Stream
from flytelineage.testing.simulator.workflows import (
    Branch,
    Dynamic,
    Input,
    MapTask,
    Node,
    Outcome,
    Output,
    Taken,
    Task,
    Workflow,
)

_ORDERS = Frame({"order_id": "int", "customer": "str", "amount": "float", "at": "datetime"}, 50)
_DAILY = Frame({"day": "datetime", "revenue": "float", "orders": "int"}, 7, declared=True)
_FEATURES = Frame({"customer": "str", "spent": "float", "orders": "int", "churned": "bool"}, 40)


def samples() -> dict[str, Workflow]:
    """The workflows by a short name; `simulate_samples` runs them in this order."""
    return {
        "sales": _sales(),
        "training": _training(),
        "regions": _regions(),
        "dashboard": _dashboard(),
        "quality": _quality(),
    }


def simulate_samples(
    storage: Storage, *, start: datetime, seed: int = 0, fast: bool = False
) -> list[Stream]:
    """Run the samples one after the other.

    The sales pipeline runs on two days: on the second the cache answers for its first
    task and another needs a second attempt. The dashboard reads what the sales pipeline
    made, and one execution of the training fails.
    """
    return _Day(storage, start, seed, fast).run()


class _Day:
    """What happens on the sample platform."""

    def __init__(self, storage: Storage, start: datetime, seed: int, fast: bool) -> None:
        self._storage, self._start, self._seed, self._fast = storage, start, seed, fast
        self._workflows = samples()
        self._streams: list[Stream] = []

    def run(self) -> list[Stream]:
        sales = self._simulate("sales", "sales-monday")
        self._simulate("sales", "sales-tuesday", outcomes=_second_day(sales))
        self._simulate("training", "train-a1b2c3")
        self._simulate("training", "train-d4e5f6", phase="FAILED", outcomes=_exhausted())
        self._simulate("regions", "regions-q1")
        self._simulate("dashboard", "dashboard-monday", inputs={"daily": sales.output("n2")})
        self._simulate("quality", "quality-monday", inputs={"orders": sales.output("n1")})
        return self._streams

    def _simulate(
        self,
        name: str,
        execution: str,
        *,
        phase: Phase = "SUCCEEDED",
        inputs: Mapping[str, Kind] | None = None,
        outcomes: Mapping[str, Outcome] | None = None,
    ) -> Stream:
        stream = simulate(
            self._workflows[name],
            execution,
            self._storage,
            start=self._start + timedelta(minutes=10 * len(self._streams)),
            seed=self._seed,
            phase=phase,
            inputs=inputs,
            outcomes=outcomes,
            fast=self._fast,
            principal="sample-user",
            labels={"team": name},
        )
        self._streams.append(stream)
        return stream


def _second_day(first: Stream) -> dict[str, Outcome]:
    """The cache answers for what did not change; one task needs a second attempt."""
    taken = Taken(first.outputs("n0"), first.source("n0"))
    return {"n0": Outcome(hit=taken), "n2": Outcome(failed_attempts=1)}


def _exhausted() -> dict[str, Outcome]:
    return {"n3": Outcome("FAILED", failed_attempts=3)}


def _sales() -> Workflow:
    """A chain from a lake table to one that others query."""
    extract = Task("shop.sales.extract_orders", {"o0": _ORDERS}, cacheable=True)
    clean = Task("shop.sales.clean_orders", {"o0": _ORDERS, "dropped": Primitive(3)})
    daily = Task("shop.sales.daily_revenue", {"o0": _DAILY})
    table = Frame(_DAILY.columns, 7, uri="s3://shop-warehouse/daily_revenue/")
    publish = Task("shop.sales.publish", {"o0": table})
    return Workflow(
        "shop.sales.sales_pipeline",
        nodes=(
            Node("n0", extract, {"source": Input("source")}),
            Node("n1", clean, {"orders": Output("n0")}),
            Node("n2", daily, {"orders": Output("n1")}),
            Node("n3", publish, {"daily": Output("n2")}),
        ),
        inputs={"source": File(uri="s3://shop-landing/orders/2026-01-05.csv", format="csv")},
        outputs={"o0": Output("n3")},
        project="shop",
        domain="production",
        version="9f1c2ab",
    )


def _training() -> Workflow:
    """A diamond with several outputs, files and a record of results."""
    split = Task("shop.churn.split", {"train": _FEATURES, "test": _FEATURES})
    fit = Task("shop.churn.fit", {"model": File("model.joblib", content=b"a model")})
    base = Task("shop.churn.fit_baseline", {"model": File("baseline.joblib", content=b"a mean")})
    report = Record({"auc": Primitive(0.87), "curve": File("roc.png", "png", b"a picture")})
    plots = Folder({"importance.svg": b"<svg/>", "confusion.svg": b"<svg/>"})
    judge = Task("shop.churn.evaluate", {"report": report, "plots": plots})
    return Workflow(
        "shop.churn.train_churn_model",
        nodes=(
            Node("n0", Task("shop.churn.features", {"o0": _FEATURES}), {"table": Input("table")}),
            Node("n1", split, {"features": Output("n0")}),
            Node("n2", fit, {"train": Output("n1", "train"), "depth": Primitive(6)}),
            Node("n3", base, {"train": Output("n1", "train")}),
            Node("n4", judge, _judged()),
        ),
        inputs={"table": Frame(uri="s3://shop-warehouse/customers")},
        outputs={"model": Output("n2", "model"), "report": Output("n4", "report")},
        project="shop",
        domain="production",
        version="51d0e77",
    )


def _judged() -> dict[str, Output]:
    return {
        "model": Output("n2", "model"),
        "baseline": Output("n3", "model"),
        "test": Output("n1", "test"),
    }


def _regions() -> Workflow:
    """A fan-out: one task at several nodes, a map task, and a merge of all."""
    load = Task("shop.regions.load_region", {"o0": _ORDERS})
    score = Task("shop.regions.score", {"o0": _ORDERS})
    names = ("north", "south", "east", "west")
    loads = [Node(f"n{at}", load, {"region": Primitive(name)}) for at, name in enumerate(names)]
    loaded = [Output(node.id) for node in loads]
    merge = Task("shop.regions.merge", {"o0": _ORDERS})
    return Workflow(
        "shop.regions.score_regions",
        nodes=(
            *loads,
            Node("n4", MapTask(score, ("orders",)), {"orders": list(loaded)}),
            Node("n5", merge, {"scored": Output("n4")}),
        ),
        outputs={"o0": Output("n5")},
        project="shop",
        domain="production",
        version="c0ffee1",
    )


def _dashboard() -> Workflow:
    """It reads what the sales pipeline made."""
    render = Task("shop.dashboard.render", {"page": File("index.html", "html", b"<html/>")})
    notify = Task("shop.dashboard.notify")
    return Workflow(
        "shop.dashboard.refresh",
        nodes=(
            Node("n0", render, {"daily": Input("daily")}),
            Node("n1", notify, {"page": Output("n0", "page")}),
        ),
        inputs={"daily": Frame(uri="s3://shop-warehouse/daily_revenue")},
        outputs={"page": Output("n0", "page")},
        project="shop",
        domain="production",
        version="77aa01d",
    )


def _quality() -> Workflow:
    """A sub-workflow, a branch and a dynamic node."""
    check = Task("shop.quality.check", {"bad": _ORDERS, "share": Primitive(0.02)})
    repair = Task("shop.quality.repair", {"o0": _ORDERS})
    accept = Task("shop.quality.accept", {"o0": _ORDERS})
    arms = (
        Node("n0", accept, {"orders": Input("orders")}),
        Node("n1", repair, {"orders": Input("orders"), "bad": Output("n0", "bad")}),
    )
    inner = Workflow(
        "shop.quality.check_and_repair",
        nodes=(
            Node("n0", check, {"orders": Input("orders")}),
            Node("n1", Branch(arms, taken="n1"), {"share": Output("n0", "share")}),
        ),
        inputs={"orders": _ORDERS},
        outputs={"o0": Output("n1")},
        project="shop",
        domain="production",
    )
    return Workflow(
        "shop.quality.quality_gate",
        nodes=(
            Node("n0", inner, {"orders": Input("orders")}),
            Node("n1", _profiles(), {"orders": Output("n0")}),
        ),
        inputs={"orders": Frame(uri="s3://shop-warehouse/orders")},
        outputs={"profiles": Output("n1", "profiles")},
        project="shop",
        domain="production",
        version="e44b2c9",
    )


def _profiles() -> Dynamic:
    """One profile per column, as many as the data has."""
    profile = Task("shop.quality.profile_column", {"o0": File("profile.json", "json", b"{}")})
    columns = ("order_id", "customer", "amount")
    nodes = tuple(
        Node(f"dn{at}", profile, {"orders": Input("orders"), "column": Primitive(column)})
        for at, column in enumerate(columns)
    )
    body = Workflow(
        "shop.quality.profile",
        nodes=nodes,
        inputs={"orders": _ORDERS},
        outputs={"profiles": [Output(node.id) for node in nodes]},
        project="shop",
        domain="production",
    )
    whole = Task("shop.quality.profile", {"profiles": ListOf(File(), 3)}, task_type="dynamic-task")
    return Dynamic(whole, body)
