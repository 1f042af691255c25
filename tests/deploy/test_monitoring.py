"""Alerts and the dashboard ask for what the program tells, and the page says what to do."""

from __future__ import annotations

import json
import re

import promql_parser
import pytest

from flytelineage.app import FlyteLineage
from flytelineage.metrics import PREFIX, Metrics
from tests.deploy.conftest import KUBERNETES, MONITORING, manifests_in
from tests.test_docs import DOCUMENTS, ROOT, rows

(ALERTS,) = manifests_in(MONITORING / "alerts.yaml")
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

FROM_PROMETHEUS = {"job", "instance", "__name__", "le"}
"""Labels that need not be the program's own."""

FROM_ALL = {
    "flytelineage_deliveries", "flytelineage_delivery_oldest_seconds", "flytelineage_executions",
    "flytelineage_executions_lacking", "flytelineage_quarantine_messages",
    "flytelineage_quarantine_bytes", "flytelineage_store_bytes",
}  # fmt: skip
"""What each process tells of the store that all of them share."""

Series = dict[str, dict[str, set[str]]]


@pytest.fixture(scope="module")
def series() -> Series:
    """Each name that is scraped, with its labels and the values that they have at the start."""
    found: Series = {}
    for metric in Metrics(targets=["datahub"]).registry.collect():
        for sample in metric.samples:
            if not sample.name.endswith("_created"):
                labels = found.setdefault(sample.name, {})
                for name, value in sample.labels.items():
                    labels.setdefault(name, set()).add(value)
    return found


QUESTIONS = [
    *(pytest.param(rule["expr"], id=rule["alert"]) for rule in RULES),
    *(
        pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
        for panel in PANELS
        for target in panel["targets"]
    ),
]
"""Every expression, with the name of who asks."""


def parsed(expression: str) -> promql_parser.Expr:
    """As Prometheus sees it, once Grafana has filled in its variables."""
    filled = expression.replace("$__rate_interval", "5m").replace('"$', '"')
    return promql_parser.parse(filled)


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """The series that an expression asks for."""
    found: list[promql_parser.VectorSelector] = []

    def note(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)
        elif isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(parsed(expression), note)
    return found


def aggregates(expression: str) -> list[promql_parser.AggregateExpr]:
    found: list[promql_parser.AggregateExpr] = []

    def note(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr):
            found.append(node)

    promql_parser.walk(parsed(expression), note)
    return found


class TestQuestions:
    """What alerts and panels ask Prometheus."""

    @pytest.mark.parametrize("expression", QUESTIONS)
    def test_series_exist(self, expression: str, series: Series) -> None:
        """With these labels, and where a value is named, with this value."""
        for selector in selectors(expression):
            if selector.name is None:  # of FlyteAdmin, whose names differ
                continue
            labels = series[selector.name]
            for matcher in selector.matchers.matchers:
                if matcher.name in FROM_PROMETHEUS:
                    continue
                assert matcher.name in labels, (selector.name, matcher.name)
                values = labels[matcher.name]
                if matcher.name != "target":
                    assert set(matcher.value.split("|")) <= values, selector.name

    @pytest.mark.parametrize("expression", QUESTIONS)
    def test_groups_exist(self, expression: str, series: Series) -> None:
        """Whatever is grouped by is a label of what is grouped."""
        for aggregate in aggregates(expression):
            inside = selectors(str(aggregate.expr))
            known = {label for one in inside if one.name for label in series[one.name]}
            labels = set(aggregate.modifier.labels) if aggregate.modifier else set()

            assert labels <= known | FROM_PROMETHEUS

    @pytest.mark.parametrize("expression", QUESTIONS)
    def test_what_is_shared_is_counted_once(self, expression: str) -> None:
        """Each process tells the same of a store: a sum would grow with their number."""
        for aggregate in aggregates(expression):
            if str(aggregate.op) != "sum" or aggregates(str(aggregate.expr)):
                continue  # the sum over targets, of what was counted once for each
            asked = {selector.name for selector in selectors(str(aggregate.expr))}
            assert not asked & FROM_ALL

    def test_shared_metrics_exist(self, series: Series) -> None:
        assert set(series) >= FROM_ALL


class TestAlerts:
    """The rules of alerts.yaml."""

    def test_operator_gets_the_same(self) -> None:
        """What the Prometheus operator applies is the file for everybody else."""
        (rule,) = manifests_in(MONITORING / "prometheusrule.yaml")

        assert rule["spec"] == ALERTS

    def test_are_whole(self) -> None:
        """Each says how urgent it is, what it means, and where to read on."""
        for rule in RULES:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert set(rule["annotations"]) == {"summary", "description", "runbook"}
            assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))
        names = [rule["alert"] for rule in RULES]
        assert len(set(names)) == len(names)

    def test_run_book(self) -> None:
        """Each has its section, and no section is of an alert that is gone."""
        part = OPERATIONS.partition("\n## Alerts\n")[2].partition("\n## ")[0]
        sections = re.findall(r"^### (\w+)$", part, re.MULTILINE)

        assert sections == [rule["alert"] for rule in RULES]
        assert [rule["annotations"]["runbook"] for rule in RULES] == [
            f"docs/operations.md#{name.lower()}" for name in sections
        ]

    def test_templates(self) -> None:
        """What is filled into a text is there: a label that the expression keeps."""
        for rule in RULES:
            texts = " ".join(rule["annotations"].values())
            for label in re.findall(r"\$labels\.(\w+)", texts):
                assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), rule["alert"]
            functions = re.findall(r"\$value \| (\w+)", texts)
            assert set(functions) <= {"humanizeDuration", "humanizePercentage", "humanize"}

    def test_monitor(self) -> None:
        """The port that is scraped is the service's, and the path is the program's."""
        (monitor,) = manifests_in(MONITORING / "servicemonitor.yaml")
        (service,) = manifests_in(KUBERNETES / "base" / "service.yaml")
        (endpoint,) = monitor["spec"]["endpoints"]
        (port,) = service["spec"]["ports"]

        assert endpoint["port"] == port["name"]
        assert endpoint["path"] == "/metrics"
        assert port["port"] == FlyteLineage().http_port
        wanted = monitor["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= service["metadata"]["labels"].items()


class TestDashboard:
    """The dashboard for Grafana."""

    def test_shows_every_metric(self, series: Series) -> None:
        """What nobody looks at need not be measured."""
        asked = {
            selector.name
            for panel in PANELS
            for target in panel["targets"]
            for selector in selectors(target["expr"])
        }
        ours = {
            name
            for name in series
            if name.startswith(PREFIX) and not name.endswith(("_sum", "_count"))
        }

        assert ours - asked == set()

    def test_panels(self) -> None:
        """Each has a number of its own, a title, a sentence, and a place that no other has."""
        squares = [
            (column, line)
            for panel in DASHBOARD["panels"]
            for place in [panel["gridPos"]]
            for column in range(place["x"], place["x"] + place["w"])
            for line in range(place["y"], place["y"] + place["h"])
        ]

        assert len(set(squares)) == len(squares)
        assert max(column for column, _ in squares) < 24
        ids = [panel["id"] for panel in DASHBOARD["panels"]]
        assert len(set(ids)) == len(ids)
        assert all(panel["title"] and panel["description"] for panel in PANELS)

    def test_variables(self) -> None:
        """Whatever is filled in can be chosen, and the data source is nobody's in particular."""
        chosen = {one["name"] for one in DASHBOARD["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval", "__all"}

        assert used == chosen
        assert all(panel["datasource"]["uid"] == "${datasource}" for panel in PANELS)


def test_every_metric_is_explained(series: Series) -> None:
    """The page has a row for each, with its labels, and for nothing else."""
    told = {}
    for names, labels, _ in rows("metric", OPERATIONS):
        for name in re.findall(r"`(\w+)`", names):
            told[f"{PREFIX}_{name}"] = set(re.findall(r"`(\w+)`", labels))
    there = {
        name.removesuffix("_bucket"): set(labels) - {"le"}
        for name, labels in series.items()
        if name.startswith(PREFIX) and not name.endswith(("_sum", "_count"))
    }

    assert told == there


@pytest.mark.parametrize("name", DOCUMENTS)
def test_metrics_that_documents_name_exist(name: str, series: Series) -> None:
    """As they are scraped; of a histogram the name without its endings."""
    text = (ROOT / name).read_text(encoding="utf-8")
    there = {re.sub(r"_(bucket|sum|count)$", "", one) for one in series}
    others = {"flytelineage_", "flytelineage_config", "flytelineage_scaling", "flytelineage_test"}

    named = set(re.findall(r"\bflytelineage_[a-z_]*", text)) - others

    assert named <= there
