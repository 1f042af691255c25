"""Data lineage for Flyte, from the events that FlyteAdmin publishes."""

__version__ = "0.1.0"
