from __future__ import annotations

from flytelineage.definition_keys import definition_key
from flytelineage.facts import Identifier

ETL = Identifier("shop", "production", "app.etl.main", "v1")


def test_a_key_can_be_read() -> None:
    """Whoever looks into the store sees what it is."""
    assert definition_key("workflow", ETL) == "workflow:shop/production/app.etl.main/v1"
    assert definition_key("dynamic", ETL, "emea") == "dynamic:emea/shop/production/app.etl.main/v1"


def test_a_slash_in_a_version_is_no_border() -> None:
    """Versions are free text: branches of git hold slashes."""
    one = definition_key("workflow", ETL._replace(name="a", version="b/c"))
    other = definition_key("workflow", ETL._replace(name="a/b", version="c"))

    assert one != other


def test_kinds_are_told_apart() -> None:
    """A launch plan is mostly named like its workflow."""
    assert definition_key("launch_plan", ETL) != definition_key("workflow", ETL)
