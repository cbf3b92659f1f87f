"""The browser client at the end of a page and before its settings came: every event is sent, kept or reported."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# A page with the limits of browsers: 65536 bytes of beacons and of requests that may outlive it, together.
PROGRAM = """
const client = await import(process.argv[1]);
const given = JSON.parse(process.argv[2]);
const QUOTA = 65_536;
const heard = {}, storage = {};
let beaconed = 0, alive = 0, calls = [];
const stored = [];
const later = (value) => new Promise((resolve) => setTimeout(() => resolve(value), 5));
globalThis.addEventListener = (name, listener) => (heard[name] = listener);
globalThis.removeEventListener = (name) => delete heard[name];
globalThis.localStorage = new Proxy(storage, {
    get: (target, name) => ({
        getItem: (key) => target[key] ?? null,
        removeItem: (key) => delete target[key],
        setItem: (key, value) => {
            if (given.storageFull) throw new Error("QuotaExceededError");
            target[key] = value;
        },
    })[name] ?? target[name],
});
const navigator = { onLine: given.offline !== true };
if (given.beacon !== "absent") navigator.sendBeacon = (url, body) => {
    if (given.beacon === "throws") throw new TypeError("blocked");
    if (given.beacon === "refuses" || beaconed + alive + body.length > QUOTA) return false;
    beaconed += body.length;
    stored.push(...JSON.parse(body));
    return true;
};
Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true });
globalThis.fetch = async (url, request = {}) => {
    if (url.includes("/v1/streams")) {
        await later();
        if (given.settings === "down") throw new TypeError("no network");
        if (given.settings === "503") return new Response("{}", { status: 503 });
        return Response.json({ revision: 1, streams: { s: {} } });
    }
    const bytes = request.body.length;
    calls.push({ keepalive: request.keepalive, bytes });
    if (request.keepalive && (given.keepalive === false || beaconed + alive + bytes > QUOTA)) {
        throw new TypeError("too much");
    }
    if (request.keepalive) alive += bytes;
    await later();
    if (request.keepalive) alive -= bytes;
    if (given.intake === "down") throw new TypeError("no network");
    if (given.intake === 503) return new Response("{}", { status: 503, headers: { "retry-after": "1" } });
    stored.push(...JSON.parse(request.body));
    return new Response(null, { status: 201 });
};

const dropped = [], warnings = [];
const producer = client.createProducer({
    url: "http://intake", live: false, pollSeconds: 1000, onDropped: (one) => dropped.push(one),
    onWarning: (text) => warnings.push(text), persist: given.persist ?? false,
    ...(given.settings ? { streams: ["s"] } : { settings: { s: {} } }), ...given.options,
});
const submit = (count, size) => {
    for (let at = 0; at < count; at++) producer.submit("s", { $schema: "/s/1.0.0", at, text: "x".repeat(size) });
};
const answer = {};
const steps = {
    submit: ([count, size]) => submit(count, size),
    flush: async () => (answer.flushed = await producer.flush()),
    close: () => producer.close(),
    pagehide: (persisted) => heard.pagehide({ persisted }),
    hidden: () => {
        globalThis.document = { visibilityState: "hidden" };
        heard.visibilitychange();
    },
    pageshow: () => heard.pageshow({}),
    up: () => Object.assign(given, { intake: "up", settings: given.settings && "up", offline: false }),
    wait: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
};
for (const [step, value] of given.steps) await steps[step](value);
// Until nothing moves any more.
for (let quiet = 0, before = ""; quiet < 20; ) {
    await later();
    const now = JSON.stringify([stored.length, dropped.length, calls.length, producer.sending.length]);
    quiet = now === before ? quiet + 1 : 0;
    before = now;
}
const kept = Object.entries(storage).filter(([key]) => key.startsWith("headwater.queue."))
    .flatMap(([, value]) => JSON.parse(value));
console.log(JSON.stringify({
    ...answer, statistics: producer.statistics, stored: stored.map((one) => one.meta.id),
    dropped: dropped.map((one) => [one.event.meta?.id ?? null, one.reason]), kept: kept.map((one) => one.id), calls,
    left: producer.queue.length + producer.undecided.length,
}));
process.exit(0);
"""

Run = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def run(repository: Path, needs: Callable[[str, object, str], None]) -> Run:
    """Runs a page in node; gives what became of its events."""
    node = shutil.which("node")
    needs("node", node, "install the Debian package nodejs")
    assert node is not None
    library = (repository / "clients" / "js" / "headwater.js").as_uri()

    def page(given: dict[str, Any]) -> dict[str, Any]:
        arguments = [node, "--no-warnings", "--input-type=module", "--eval", PROGRAM, library, json.dumps(given)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return page


ENDS = {"close": [["close", None]], "pagehide": [["pagehide", False]]}
PAGES: dict[str, dict[str, Any]] = {
    "more than the browser takes": {},
    "no beacons": {"beacon": "absent"},
    "beacons are blocked": {"beacon": "throws"},
    "beacons are refused": {"beacon": "refuses"},
    "no request may outlive the page": {"beacon": "refuses", "keepalive": False},
    "the intake is down": {"intake": "down"},
    "the intake is down, and beacons are refused": {"intake": "down", "beacon": "refuses"},
    "the intake is busy": {"intake": 503, "beacon": "absent"},
    "offline": {"offline": True},
    "kept": {"intake": "down", "persist": True},
    "kept offline": {"offline": True, "persist": True},
    "storage is full": {"intake": "down", "persist": True, "storageFull": True},
    "storage is full offline": {"offline": True, "persist": True, "storageFull": True},
    "one event is larger than any beacon": {"sizes": [2, 70_000]},
    "settings never came": {"settings": "down"},
    "settings never came, and events are to be dropped then": {"settings": "503", "options": {"unsettled": "drop"}},
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("page", PAGES)
def test_every_event_of_a_page_that_ends_is_sent_kept_or_reported(run: Run, page: str, end: str) -> None:
    given = PAGES[page]
    count, size = given.get("sizes", [40, 3000])
    found = run({**given, "steps": [["submit", [count, size]], *ENDS[end]]})
    statistics = found["statistics"]
    assert found["left"] == 0 or found["kept"]
    gone = [*found["stored"], *found["kept"], *(one for one, _ in found["dropped"])]
    assert len(gone) == count
    assert len(set(gone)) == count or None in gone
    assert statistics["beaconed"] + statistics["accepted"] == len(found["stored"])
    assert statistics["dropped"] == len(found["dropped"])
    assert all(reason for _, reason in found["dropped"])
    assert not any(call["keepalive"] and call["bytes"] > 65_536 for call in found["calls"])
    if given.get("persist") and not given.get("storageFull"):
        assert not found["dropped"]
    if not given.keys() & {"intake", "offline", "options"}:
        assert len(found["stored"]) == count


def test_beacons_are_filled_to_the_last_event_that_fits(run: Run) -> None:
    found = run({"steps": [["submit", [40, 3000]], ["close", None]]})
    assert found["statistics"]["beaconed"] >= 20
    assert found["statistics"]["accepted"] == 40 - found["statistics"]["beaconed"]


def test_a_page_that_comes_back_sends_what_it_still_has(run: Run) -> None:
    steps = [
        ["submit", [40, 3000]],
        ["pagehide", True],
        ["wait", 50],
        ["up", None],
        ["pageshow", None],
        ["flush", None],
    ]
    found = run({"intake": "down", "beacon": "refuses", "steps": steps})
    assert found["flushed"] is True
    assert len(set(found["stored"])) == 40
    assert not found["dropped"]


def test_what_is_submitted_after_the_end_is_sent_too(run: Run) -> None:
    found = run({"steps": [["submit", [30, 3000]], ["close", None], ["submit", [30, 3000]], ["wait", 50]]})
    assert len(set(found["stored"])) == 60


def test_a_hidden_page_sends_what_no_beacon_takes(run: Run) -> None:
    found = run({"steps": [["submit", [40, 3000]], ["hidden", None], ["flush", None]]})
    assert len(set(found["stored"])) == 40


@pytest.mark.parametrize("settings", ["up", "down", "503"])
def test_flush_waits_for_the_settings_and_is_true_only_where_all_was_answered(run: Run, settings: str) -> None:
    found = run({"settings": settings, "steps": [["submit", [3, 10]], ["flush", None]]})
    assert found["flushed"] is (settings == "up")
    assert found["statistics"]["accepted"] == (3 if settings == "up" else 0)
    # What could not be decided is not lost.
    assert found["left"] == (0 if settings == "up" else 3)


def test_flush_sends_what_waited_when_the_settings_come_later(run: Run) -> None:
    steps = [["submit", [3, 10]], ["flush", None], ["up", None], ["flush", None]]
    found = run({"settings": "down", "steps": steps})
    assert found["flushed"] is True
    assert len(found["stored"]) == 3


def test_flush_is_false_where_the_intake_cannot_be_reached(run: Run) -> None:
    found = run({"intake": "down", "steps": [["submit", [3, 10]], ["flush", None]]})
    assert found["flushed"] is False
    assert not found["stored"]


def test_flush_without_anything_submitted_is_true(run: Run) -> None:
    assert run({"settings": "down", "steps": [["flush", None]]})["flushed"] is True
