from __future__ import annotations

import time

import pytest

from flytelineage.dataset_paths import trimmed


def trim(path, **options):
    return "/".join(trimmed(path.split("/"), **options).parts)


PART_FILES = [
    "part-0001.parquet",
    "part-00000-8a5c1d2e-1111-2222-3333-444455556666-c000.snappy.parquet",
    "part-r-00000.gz",
    "part.0.parquet",
    "00000",
    "00001",
    "000000_0",
    "00000-0-8a5c1d2e-1111-2222-3333-444455556666.parquet",
    "000000000012.csv.gz",
    "0000_part_00",
    "data_0_0_0.csv.gz",
    "0123456789abcdef0123456789abcdef.snappy.parquet",
    "8a5c1d2e-1111-2222-3333-444455556666-0.parquet",
    ".csv",
    ".part-00000.snappy.parquet.crc",
    "*.parquet",
    "**",
    "_SUCCESS",
    "_metadata",
    "_delta_log/00000000000000000000.json",
    "_temporary/0/_temporary/attempt_1/part-00000",
    "_committed_123",
    ".hoodie/hoodie.properties",
    "part-0.parquet/00000",
]


@pytest.mark.parametrize("file", PART_FILES)
def test_what_a_writer_adds_is_left_out(file):
    assert trim(f"lake/sales/orders/{file}") == "lake/sales/orders"
    assert trim(f"lake/orders.parquet/{file}") == "lake/orders.parquet"


NAMED = [
    "orders.csv", "orders.parquet", "2026-01-05.csv", "20260105.csv", "model_v2.pkl",
    "partner.csv", "part-time.csv", "x=1.csv/a.csv", "0815", "_raw", "data",
]  # fmt: skip


@pytest.mark.parametrize("file", NAMED[:7] + NAMED[8:])
def test_a_name_of_its_own_stays(file):
    assert trim(f"lake/sales/{file}") == f"lake/sales/{file}"


PARTITIONS = {
    "sales/dt=2026-01-01": "sales",
    "sales/year=2026/month=01/day=31": "sales",
    "sales/dt=2026-01-01/hour=3/x.parquet": "sales",
    "sales/dt=2026-01-01.parquet": "sales",
    "sales/dt=2026-01-01 00%3A00": "sales",
    "sales/größe=xl": "sales",
    "sales/id=YWI=/part-0": "sales",
    "sales/dt=__HIVE_DEFAULT_PARTITION__/": "sales",
    "sales/dt=2026-01-01/part-0.csv": "sales",
    "sales/dt=2026-01-01/data.csv": "sales",
    "sales/dt=2026-01-01/sales.json.gz": "sales",
    "sales/dt=2026-01-01/0001.json": "sales",
    "sales/dt=2026-01-01/events-20260101-17.json": "sales",
    "sales/dt=2026-01-01/orders.parquet": "sales",
    "sales/dt=2026-01-01/orders.parquet/part-0.parquet": "sales",
    # A name of its own, below a partition.
    "sales/dt=2026-01-01/orders.csv": "sales/orders.csv",
    "sales/dt=2026-01-01/customers.csv": "sales/customers.csv",
    "sales/dt=2026-01-01/данные_продаж.csv": "sales/данные_продаж.csv",
    "models/dt=2026-01-01/model.pkl": "models/model.pkl",
    "sales/dt=2026-01-01/train/part-0.parquet": "sales/train",
    "sales/dt=2026-01-01/test/": "sales/test",
}


@pytest.mark.parametrize("path", PARTITIONS)
def test_partitions_are_cut_out(path):
    assert trim(f"lake/{path}".rstrip("/")) == f"lake/{PARTITIONS[path]}"


def test_the_first_part_always_stays():
    """A bucket is a bucket, whatever it is called."""
    assert trim("dt=1/00000") == "dt=1"
    assert trim("00000") == "00000"


DATES = {
    "sales/2026/01/31": "sales",
    "sales/2026/1/5/23/59/part-0.parquet": "sales",
    "sales/2026/01": "sales",
    "sales/2026-01-31/x.parquet": "sales",
    "sales/2026_01_31": "sales",
    "sales/20260131": "sales",
    "sales/20260131T0900Z": "sales",
    "sales/2026-01-31T09:00:00.000Z": "sales",
    "sales/2026-01": "sales",
    "sales/2026-01-31.csv": "sales",
    "sales/2026/01/31/orders.csv": "sales/orders.csv",
    "sales/2026/region=eu/x.parquet": "sales/2026",
    # No dates.
    "sales/2026": "sales/2026",
    "sales/2026/13/31": "sales/2026/13/31",
    "sales/20261331": "sales/20261331",
    "sales/2026-02-30": "sales/2026-02-30",
    "sales/1234/01/31": "sales/1234/01/31",
    "sales/v20260131": "sales/v20260131",
}


@pytest.mark.parametrize("path", DATES)
def test_dated_folders_are_cut_out_only_where_asked(path):
    assert trim(f"lake/{path}", dates=True) == f"lake/{DATES[path]}"
    if "=" not in path and "part-0" not in path:
        assert trim(f"lake/{path}") == f"lake/{path}"


def test_what_is_left_out_is_told():
    told = trimmed(["lake", "sales", "dt=1", "2026", "01", "31", "part-0"], dates=True).left_out

    assert told == (
        "left out dt=1: a hive partition",
        "left out 2026/01/31: a date",
        "left out part-0: a part file",
    )


@pytest.mark.parametrize("part", ["dt=1", "2026", "00000", "a", "_x", "*", "1-1" * 3_000])
def test_a_hostile_path_takes_bounded_time(part):
    parts = ["lake"] + [part] * (10_000 // len(part) or 1)
    began = time.process_time()

    trimmed(parts, dates=True)

    assert time.process_time() - began < 1
