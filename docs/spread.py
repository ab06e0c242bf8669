#!/usr/bin/env python3
"""Two questions to a recording as Parquet: the spread of each minute, and how long after the venue's time things came.

    spread.py OUT.parquet [--with duckdb|pyarrow]     whichever of the two is installed; DuckDB first

The file is made by `cargo run --release -p meltica-parquet -- RECORDING OUT.parquet`. Prices are DECIMAL(38, 18): sums and
differences are exact, and nothing becomes a float before it is printed.
"""

import argparse
import importlib.util
import sys
from decimal import ROUND_HALF_UP, Decimal

SPREADS = """
SELECT strftime(time_bucket(INTERVAL 1 minute, make_timestamp(epoch_ns(receive_time) // 1000)), '%Y-%m-%d %H:%M') AS minute,
       provider, symbol, count(*), min(ask - bid), max(ask - bid), sum(ask - bid)
FROM events
WHERE kind = 'Ticker' AND bid IS NOT NULL AND ask IS NOT NULL AND receive_time IS NOT NULL
GROUP BY ALL ORDER BY ALL
"""
DELAYS = """
SELECT provider, min(delay_ns), quantile_disc(delay_ns, 0.5), max(delay_ns), count(*)
FROM (SELECT provider, epoch_ns(receive_time) - epoch_ns(venue_time) AS delay_ns
      FROM events WHERE kind IN ('Trade', 'Ticker'))
WHERE delay_ns IS NOT NULL
GROUP BY provider ORDER BY provider
"""


def with_duckdb(path: str):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    # A view cannot be prepared with a parameter; the reader can.
    events = connection.read_parquet(path)
    connection.register("events", events)
    return connection.execute(SPREADS).fetchall(), connection.execute(DELAYS).fetchall()


def with_pyarrow(path: str):
    import pyarrow.parquet

    names = ["provider", "symbol", "kind", "venue_time", "receive_time", "bid", "ask"]
    table = pyarrow.parquet.read_table(path, columns=names)
    for name in ("venue_time", "receive_time"):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, table[name].cast(pyarrow.int64()))
    spreads, delays = {}, {}
    for row in table.to_pylist():
        if row["receive_time"] is None:
            continue
        if row["kind"] in ("Trade", "Ticker") and row["venue_time"] is not None:
            delays.setdefault(row["provider"], []).append(row["receive_time"] - row["venue_time"])
        if row["kind"] == "Ticker" and row["bid"] is not None and row["ask"] is not None:
            key = (clock(row["receive_time"]), row["provider"], row["symbol"])
            spreads.setdefault(key, []).append(row["ask"] - row["bid"])
    return (
        [(*key, len(of), min(of), max(of), sum(of)) for key, of in sorted(spreads.items())],
        [
            (provider, min(of), sorted(of)[(len(of) - 1) // 2], max(of), len(of))
            for provider, of in sorted(delays.items())
        ],
    )


def clock(ns: int) -> str:
    from datetime import datetime, timezone

    return datetime.fromtimestamp(ns // 1_000_000_000, timezone.utc).strftime("%Y-%m-%d %H:%M")


def two_digits(value: Decimal) -> Decimal:
    return Decimal(value).quantize(Decimal("0.01"), ROUND_HALF_UP)


def tenths_of_us(ns: int) -> Decimal:
    return (Decimal(ns) / 1000).quantize(Decimal("0.1"), ROUND_HALF_UP)


def main() -> int:
    libraries = {"duckdb": with_duckdb, "pyarrow": with_pyarrow}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--with", dest="library", choices=libraries)
    arguments = parser.parse_args()
    library = arguments.library or next((name for name in libraries if importlib.util.find_spec(name)), None)
    if library is None:
        print("spread: neither duckdb nor pyarrow is installed: pip install duckdb", file=sys.stderr)
        return 2
    spreads, delays = libraries[library](arguments.file)
    for minute, provider, symbol, count, least, most, total in spreads:
        mean = two_digits(Decimal(total) / count)
        print(
            f"{minute} {provider} {symbol}: {count} tickers, "
            f"spread {two_digits(least)} to {two_digits(most)}, mean {mean}"
        )
    for provider, least, median, most, count in delays:
        least, median, most = (tenths_of_us(ns) for ns in (least, median, most))
        print(
            f"{provider}: trades and tickers received after the venue's time, in us: "
            f"least {least}, median {median}, most {most} of {count}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
