from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest
from traitlets import TraitError
from traitlets.config import Config, Configurable

from flytelineage.dataset_names import Names
from flytelineage.dataset_rules import DatasetRules, rules_of
from flytelineage.entities import DatasetId
from flytelineage.errors import ConfigError

LAKE = {
    "pattern": r"s3://lake/(?P<zone>[^/]+)/(?P<table>[^/]+)/.*",
    "platform": "glue",
    "name": "{zone}.{table}",
}


class Builder(Configurable):
    dataset_rules = DatasetRules(help="").tag(config=True)


def by_bucket(uri):
    """An operator's function."""
    bucket, _, table = uri.removeprefix("s3://").partition("/")
    return ("iceberg", f"{bucket}.{table}") if table else None


@pytest.fixture
def module(monkeypatch):
    """An operator's module, on the path."""
    module = ModuleType("my_rules")
    module.by_bucket = by_bucket
    module.number = 7
    monkeypatch.setitem(sys.modules, "my_rules", module)


# --------------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    "uri",
    [
        "s3://lake/gold/orders",
        "s3a://lake/gold/orders/",
        "s3://lake/gold/orders/dt=2026-01-01/part-0.parquet",
        "https://lake.s3.amazonaws.com/gold/orders/a.csv?X-Amz-Signature=1",
    ],
)
def test_a_pattern_names_all_spellings_of_a_place(uri):
    """The folder itself matches a pattern that ends with `/.*`, too."""
    decision = Names(rules_of([LAKE])).decide(uri)

    assert decision.rule == "dataset_rules[0]"
    assert decision.dataset == DatasetId(platform="glue", name="gold.orders")
    assert decision.steps[-1] == "dataset_rules[0] names it glue:gold.orders"


def test_a_pattern_must_match_the_whole_uri():
    rules = rules_of([{"pattern": "s3://lake", "platform": "glue", "name": "lake"}])

    assert str(Names(rules).dataset_id("s3://lake/gold")) == "s3:lake/gold"


def test_groups_alone_suffice():
    rules = rules_of([{"pattern": r"(?P<platform>\w+)://box/(?P<name>.+)"}])

    assert str(Names(rules).dataset_id("gs://box/a/b")) == "gs:a/b"


def test_a_group_can_name_the_platform():
    rule = {"pattern": r"(?P<kind>\w+)://(?P<rest>.+)", "platform": "my-{kind}", "name": "{rest}"}

    assert str(Names(rules_of([rule])).dataset_id("gs://a")) == "my-gs:a"


def test_the_first_rule_that_answers_decides():
    rules = rules_of([by_bucket, LAKE])

    assert str(Names(rules).dataset_id("s3://lake/gold/orders")) == "iceberg:lake.gold/orders"


def test_words_can_be_named_by_rules():
    """A table reference need not be a URI."""
    rules = rules_of(
        [{"pattern": r"prod\.(?P<table>\w+)", "platform": "mysql", "name": "shop.{table}"}]
    )

    assert str(Names(rules).dataset_id("prod.orders")) == "mysql:shop.orders"


def test_a_match_without_a_name_is_no_answer():
    rules = rules_of([{"pattern": r"s3://(?P<bucket>\w+)(?P<name>/x)?.*", "platform": "glue"}])

    decision = Names(rules).decide("s3://lake/y")

    assert decision.rule == "s3"
    assert decision.problems == ("dataset_rules[0] gave no usable platform and name",)


# -------------------------------------------------------------------- functions


def test_a_function_names_by_dotted_path(module):
    for path in ("my_rules.by_bucket", "my_rules:by_bucket"):
        assert str(Names(rules_of([path])).dataset_id("s3://lake/a")) == "iceberg:lake.a"


def test_a_function_without_an_answer_leaves_it_to_the_next():
    decision = Names(rules_of([by_bucket])).decide("s3://lake")

    assert decision.rule == "s3"
    assert decision.steps[0] == "dataset_rules[0] has no answer"
    assert decision.problems == ()


def raises(uri):
    raise KeyError("nobody thought of it")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (raises, "dataset_rules[0] failed: KeyError: 'nobody thought of it'"),
        (lambda uri: "glue:a.b", "dataset_rules[0] gave str, not (platform, name) or None"),
        (lambda uri: ("glue", None), "dataset_rules[0] gave tuple, not (platform, name) or None"),
        (lambda uri: ("glue", " "), "dataset_rules[0] gave no usable platform and name"),
        (lambda uri: ("my platform", "a"), "dataset_rules[0] gave no usable platform and name"),
    ],
)
def test_a_function_that_fails_stops_nothing(function, told):
    """The build goes on with the next rule; the mistake is told."""
    decision = Names(rules_of([function])).decide("s3://lake/a")

    assert decision.dataset == DatasetId(platform="s3", name="lake/a")
    assert decision.problems == (told,)
    assert told in decision.steps


def test_a_function_sees_no_passwords():
    seen = []

    Names(rules_of([seen.append])).decide("https://ada:secret@example.com/a?token=secret")

    assert seen == ["https://example.com/a"]


def test_control_characters_of_an_operators_name_are_escaped():
    rules = rules_of([lambda uri: ("glue", "a\nb")])

    assert str(Names(rules).dataset_id("s3://lake/a")) == "glue:a%0Ab"


# --------------------------------------------------------------------- mistakes

MISTAKES = [
    ({**LAKE, "pattern": "s3://(lake"}, "is no regular expression"),
    (
        {**LAKE, "name": "{zone}.{tables}"},
        "{tables}, which the pattern does not have. Groups: zone",
    ),
    ({**LAKE, "name": "{zone.upper}"}, "{zone.upper}, which the pattern does not have"),
    ({**LAKE, "name": "{}"}, "write (?P<table>...) in the pattern"),
    ({**LAKE, "name": "{zone!r}"}, "without ':' and '!'"),
    ({**LAKE, "name": "{zone"}, "'name' cannot be read"),
    ({**LAKE, "name": " "}, "'name' must be a text"),
    ({**LAKE, "name": 7}, "'name' must be a text"),
    ({**LAKE, "platform": "my glue"}, "no name of a platform"),
    ({**LAKE, "platforms": "glue"}, "'platforms' means nothing: a rule has pattern, platform"),
    ({"platform": "glue", "name": "a"}, "there is no 'pattern'"),
    ({"pattern": "s3://.*", "platform": "glue"}, "neither 'name' nor a group (?P<name>...)"),
    ({**LAKE, "pattern": r"s3a://(?P<zone>.*)(?P<table>.*)"}, "write s3:// instead of s3a://"),
    (7, "7 is neither a dict nor a function nor the dotted path"),
    ("by_bucket", "'by_bucket' is neither a dict"),
]


@pytest.mark.parametrize(("entry", "told"), MISTAKES)
def test_a_rule_that_cannot_work_is_refused_at_start(entry, told):
    """The message names the entry and says what to type."""
    with pytest.raises(ConfigError, match=re.escape(told)) as raised:
        rules_of([LAKE, entry])

    assert str(raised.value).startswith("LineageBuilder.dataset_rules[1]: ")


@pytest.mark.parametrize(("entry", "told"), MISTAKES)
def test_the_option_refuses_it_as_well(entry, told):
    with pytest.raises(TraitError, match=re.escape(told)) as raised:
        Builder(dataset_rules=[LAKE, entry])

    assert "Builder.dataset_rules[1]: " in str(raised.value)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("my_rules.missing", "cannot be loaded: AttributeError"),
        ("no_such_module.name_of", "Is its directory on PYTHONPATH?"),
        ("my_rules.number", "is no function"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(module, path, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        rules_of([path])


# ------------------------------------------------------------------- the option


def test_the_option_takes_patterns_paths_and_functions():
    rules = [LAKE, "my_rules.by_bucket", by_bucket]

    assert Builder(dataset_rules=rules).dataset_rules == rules


def test_the_option_can_be_given_on_the_command_line():
    trait = Builder.class_traits()["dataset_rules"]

    assert trait.from_string_list([repr([LAKE])]) == [LAKE]
    assert trait.from_string_list([repr(LAKE), "my_rules.by_bucket"]) == [
        LAKE,
        "my_rules.by_bucket",
    ]
    with pytest.raises(TraitError, match="is no list and no dict"):
        trait.from_string_list(["{pattern: x"])


def test_the_option_is_empty_by_default():
    assert Builder(config=Config()).dataset_rules == []
    assert rules_of([]) == ()


def test_names_are_values():
    assert Names(rules_of([LAKE])) == Names(rules_of([LAKE]))
    assert hash(Names(rules_of([LAKE]), trim_dates=True))
