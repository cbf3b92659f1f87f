"""The comparison at the end of a kill campaign finds nothing where all is right, and names whatever is not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.testing.campaign.clients import Sent
from headwater.testing.campaign.comparison import EACH_MAX, HOUR_MS, differences
from headwater.testing.campaign.found import STREAMS, Found, Kept, read_errors_printed
from headwater.testing.campaign.orders import identifier, is_refused, order_of
from headwater.testing.campaign.schedule import TABLE_FILES, schedule
from headwater.testing.whole_platform.project import ERRORS, NUMBERED, ORDERS, PASSED, PER_MINUTE

BASE_MS = 1_795_990_000_000
NUMBERS = 40
FEEDS = (0, 1)


def kept(found: Found, topic: str, identifier: str, **event: object) -> Kept:
    of_topic = found.records.setdefault(topic, [])
    made = Kept(topic, 0, len(of_topic), BASE_MS + len(of_topic), {"meta": {"id": identifier}, **event})
    of_topic.append(made)
    return made


def all_right() -> tuple[Sent, Found]:
    """The results of a campaign without problems; the order 0/3 was refused once more than its client knows."""
    sent, found = Sent(BASE_MS, dict.fromkeys(FEEDS, NUMBERS)), Found()
    windows: dict[tuple[str, str], tuple[int, int]] = {}
    numbers: dict[str, int] = {}
    for feed, number in ((feed, number) for feed in FEEDS for number in range(NUMBERS)):
        name, order = identifier(feed, number), order_of(feed, number, BASE_MS)
        if is_refused(number):
            sent.refused_sent[name], sent.refusals[name] = 2, 1
            kept(found, ERRORS, f"error-{name}", raw_event=json.dumps({"meta": {"id": name}}), message="no")
            continue
        sent.accepted.add(name)
        kept(found, ORDERS, name, **{key: order[key] for key in ("dt", "shop", "slot", "amount")})
        kept(found, PASSED, f"p{name}", order=name, **{key: order[key] for key in ("dt", "shop", "slot", "amount")})
        shop, start = order["shop"], order["dt"][:16] + ":00Z"
        numbers[shop] = numbers.get(shop, 0) + 1
        kept(found, NUMBERED, f"n{name}", order=name, shop=shop, number=numbers[shop], dt=order["dt"])
        orders, amount = windows.get((shop, start), (0, 0))
        windows[shop, start] = (orders + 1, amount + order["amount"])
    for (shop, start), (orders, amount) in windows.items():
        kept(found, PER_MINUTE, f"w{shop}{start}", shop=shop, start=start, orders=orders, amount=amount, dt=start)
    for topic in STREAMS:
        kept(found, topic, f"canary-{topic}").event["meta"]["domain"] = "canary"
    passed = [one.event for one in found.events(PASSED)]
    for file in TABLE_FILES:
        found.rows[file, "orders"] = [(e["slot"], e["shop"], e["amount"], e["order"]) for e in passed]
        found.rows[file, "running"] = list(numbers.items())
        found.rows[file, "per_minute"] = [(*key, *values) for key, values in windows.items()]
    hour = {"hour": "2026-11-29T22:00:00Z", "partitions": [{"partition": 0, "events": 0, "late": 0, "canaries": 0}]}
    received = {**hour, "hour": _text(BASE_MS)}
    received["partitions"] = [{"partition": 0, "events": len(found.events(ORDERS)), "late": 0, "canaries": 1}]
    found.hours = {"receipt": [{"stream": ORDERS, "hours": [received, {**hour, "hour": _text(BASE_MS + HOUR_MS)}]}]}
    return sent, found


def _text(at_ms: int) -> str:
    from headwater.times import utc_text

    return utc_text(at_ms)[:13] + ":00:00Z"


def test_nothing_differs_where_all_is_right() -> None:
    assert differences(*all_right()) == []


FIRST = identifier(0, 0)
REFUSED = next(identifier(0, number) for number in range(NUMBERS) if is_refused(number))


def repeated(topic: str) -> Callable[[Sent, Found], object]:
    def change(_: Sent, found: Found) -> None:
        found.records[topic].append(dataclasses.replace(found.records[topic][0], offset=999))

    return change


def lost(topic: str) -> Callable[[Sent, Found], object]:
    return lambda _, found: found.records[topic].pop(0)


def row_changed(table: str) -> Callable[[Sent, Found], object]:
    def change(_: Sent, found: Found) -> None:
        rows = found.rows["tables.duckdb", table]
        rows[0] = (*rows[0][:-1], 12345)

    return change


def event_changed(topic: str, field: str) -> Callable[[Sent, Found], object]:
    return lambda _, found: found.records[topic][0].event.update({field: 777})


def of_nobody(_: Sent, found: Found) -> None:
    one = found.records[ORDERS][0]
    found.records[ORDERS].append(dataclasses.replace(one, offset=999, event=one.event | {"meta": {"id": "x"}}))


def counted_otherwise(_: Sent, found: Found) -> None:
    found.hours["receipt"][0]["hours"][0]["partitions"][0]["events"] += 1


WRONG: dict[str, tuple[Callable[[Sent, Found], object], str]] = {
    "an order stored twice": (repeated(ORDERS), f"{FIRST} is stored 2 times: orders/0/0, orders/0/999"),
    "an order lost": (lost(ORDERS), f"{FIRST} was accepted and is not in orders"),
    "an order altered": (event_changed(ORDERS, "amount"), f"{FIRST} at orders/0/0 has amount 777"),
    "an order of nobody": (of_nobody, "orders/0/999 has x, which no client has sent"),
    "a canary stored twice": (
        lambda _, found: found.records[ORDERS].append(found.records[ORDERS][-1]),
        "canary-orders is a canary that is stored 2 times",
    ),
    "no canaries": (lambda _, found: found.records[PASSED].pop(), "orders_passed has no canaries"),
    "processed twice": (repeated(PASSED), f"{FIRST} is in orders_passed 2 times"),
    "not processed": (lost(PASSED), f"{FIRST} at orders/0/0 has no event in orders_passed"),
    "processed otherwise": (event_changed(PASSED, "amount"), "orders_passed/0/0 differs from the order"),
    "not numbered": (lost(NUMBERED), f"{FIRST} at orders_passed/0/0 has no event in orders_numbered"),
    "a state that went back": (event_changed(NUMBERED, "number"), "has the number 777 at orders_numbered/0/0"),
    "a window that is wrong": (event_changed(PER_MINUTE, "orders"), "(orders, amount) (777, "),
    "a window that is missing": (lost(PER_MINUTE), "(orders, amount) None"),
    "a window stored twice": (repeated(PER_MINUTE), "is a window that is stored 2 times"),
    "a row that is missing": (
        lambda _, found: found.rows["tables.db", "orders"].pop(),
        "tables.db has 75 rows and lacks",
    ),
    "a row that is there twice": (
        lambda _, found: found.rows["tables.db", "per_minute"].append(found.rows["tables.db", "per_minute"][0]),
        "the table per_minute in tables.db has (",
    ),
    "a row with another value": (row_changed("orders"), "the table orders in tables.duckdb has ("),
    "a state's row with another value": (row_changed("running"), "the table running in tables.duckdb has ("),
    "a refusal that left no error event": (lost(ERRORS), f"{REFUSED} was sent 2 times and refused 1 times"),
    "too many error events": (
        lambda _, found: found.records[ERRORS].extend([found.records[ERRORS][0]] * 2),
        "orders-intake.error.validation has it 3 times",
    ),
    "an error event about what was not refused": (
        lambda _, found: kept(found, ERRORS, "e", raw_event=json.dumps({"meta": {"id": FIRST}}), message="why"),
        f"says that {FIRST} was refused: why",
    ),
    "an error of a job": (
        lambda _, found: kept(found, "passed.error", "e", message="broke"),
        "passed.error/0/0: broke",
    ),
    "an hour counted otherwise": (
        counted_otherwise,
        "counted (events, late, canaries) (77, 0, 1), the log holds (76, 0, 1)",
    ),
    "an hour that is not in the answer": (
        lambda _, found: found.hours["receipt"][0]["hours"].pop(0),
        "not in the answer",
    ),
    "damage": (lambda _, found: found.problems.append("verify: a batch"), "verify: a batch"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(what: str) -> None:
    change, sentence = WRONG[what]
    sent, found = all_right()
    change(sent, found)
    assert sentence in "\n".join(differences(sent, found))


def test_of_many_alike_a_few_are_named_and_the_rest_is_counted() -> None:
    sent, found = all_right()
    found.records[ORDERS] = []
    told = differences(sent, found)
    missing = [line for line in told if line.endswith("is not in orders")]
    assert len(missing) == EACH_MAX
    assert f"and {len(sent.accepted) - EACH_MAX} more (stored)" in told


def test_a_seed_makes_the_same_schedule_with_every_ending_and_both_files() -> None:
    runs = list(schedule(7, 60))
    assert runs == list(schedule(7, 60)) != list(schedule(8, 60))
    assert sum(run.kills for run in runs) == 60
    assert {run.ending for run in runs} == {"killed", "killed while starting", "killed while stopping", "stopped"}
    assert {run.tables for run in runs} == set(TABLE_FILES)
    assert any(run.pause_seconds for run in runs)


def test_errors_that_processes_printed_are_found_and_warnings_are_not(tmp_path: Path) -> None:
    file = tmp_path / "up.txt"
    error = "2026-11-29T23:45:10+0000 ERROR a request could not be answered\nTraceback:\n  it broke\n"
    warning = "2026-11-29T23:45:11+0000 WARNING job passed works again, after 1 ERROR restart.\n"
    file.write_text(f"Headwater is at http://127.0.0.1:1/\n{error}{warning}{error}")
    found = Found()
    read_errors_printed(file, found)
    assert found.problems == ["printed 2 times: ERROR a request could not be answered\nTraceback:\n  it broke"]
