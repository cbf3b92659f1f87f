"""The browser client's own code, run by node: it decides and sends what the recorded client decided and sent."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from headwater.streams.sampling import decide, hash64

# The page the vectors were recorded on: what a stream may ask for of its context.
CONTEXT = {
    "page": {"id": 7, "title": "T"},
    "mediawiki": {"database": "enwiki"},
    "performer": {"is_logged_in": False},
}

# Reads tasks as lines of JSON, answers each with a line. Only the network is replaced.
PROGRAM = """
import { createInterface } from "node:readline";
const client = await import(process.argv[1]);

async function submitted({ vector, meta, context }) {
    const warnings = [], sent = [];
    globalThis.fetch = async (url, request) => {
        sent.push(...JSON.parse(request.body));
        return new Response(null, { status: 201 });
    };
    const producer = client.createProducer({
        url: "http://intake", settings: vector.stream_configs, stamp: false, domain: meta.context.hostname, context,
        ids: { pageview: meta.context.pageview_id, session: meta.context.session_id },
        clientPlatform: "mediawiki_js", now: () => Date.parse(meta.clock), onWarning: (text) => warnings.push(text),
    });
    producer[vector.call.method](...vector.call.args);
    const refusals = warnings.length;
    await producer.flush();
    return { submitted: sent, warnings: warnings.slice(0, refusals) };
}

const tasks = {
    sample: ({ id, sample, units }) => {
        return client.decide("s", sample, (unit) => units.includes(unit) ? id : undefined);
    },
    value: ({ id }) => client.legacy32Value(id),
    oneIn: ({ token, population }) => client.inSampleOneIn(token, population),
    hash: ({ salt, stream, id }) => client.hash64(salt, stream, id).toString(),
    submitted,
};
for await (const line of createInterface({ input: process.stdin })) {
    const { task, given } = JSON.parse(line);
    console.log(JSON.stringify(await tasks[task](given) ?? null));
}
process.exit(0);
"""

Run = Callable[[Sequence[tuple[str, Mapping[str, Any]]]], list[Any]]


@pytest.fixture(scope="module")
def run(repository: Path, needs: Callable[[str, object, str], None]) -> Run:
    """Gives tasks to the client in one node process; their answers in order."""
    node = shutil.which("node")
    needs("node", node, "install the Debian package nodejs")
    assert node is not None
    client = (repository / "clients" / "js" / "headwater.js").as_uri()

    def answers(tasks: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Any]:
        lines = "".join(json.dumps({"task": task, "given": given}) + "\n" for task, given in tasks)
        arguments = [node, "--no-warnings", "--input-type=module", "--eval", PROGRAM, client]
        done = subprocess.run(arguments, input=lines, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(found) == len(tasks)
        return found

    return answers


@pytest.fixture(scope="module")
def vectors(fixtures_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((fixtures_dir / "intake" / "client_vectors.json").read_bytes())
    return found


def test_the_legacy_rule_decides_as_recorded(run: Run, vectors: dict[str, Any]) -> None:
    cases = [case for case in vectors["sampling"] if case["stream_config"] is not None]
    units = ["pageview", "session"]
    tasks: list[tuple[str, Mapping[str, Any]]] = []
    for case in cases:
        tasks.append(("sample", {"id": case["id"], "sample": case["stream_config"].get("sample"), "units": units}))
        tasks.append(("value", {"id": case["id"]}))
    answers = iter(run(tasks))
    assert cases
    for case in cases:
        assert next(answers)["included"] == case["in_sample"], case
        value = next(answers)
        assert value == pytest.approx(case.get("value", value), abs=1e-15), case


def test_the_oldest_rule_decides_as_recorded(run: Run, vectors: dict[str, Any]) -> None:
    cases = vectors["legacy_one_in_n_sampling"]
    answers = run([("oneIn", {"token": case["token"], "population": case["population_size"]}) for case in cases])
    assert cases
    assert answers == [case["in_sample"] for case in cases]


def test_every_recorded_call_sends_and_warns_as_recorded(run: Run, vectors: dict[str, Any]) -> None:
    meta = vectors["meta"]
    cases = vectors["submit_flow"]
    configured = {"DEFAULT": vectors["default_stream_configs"]}
    tasks = []
    for case in cases:
        configs = case["stream_configs"]
        given = {**case, "stream_configs": configured.get(configs, configs) if isinstance(configs, str) else configs}
        tasks.append(("submitted", {"vector": given, "meta": meta, "context": CONTEXT}))
    answers = run(tasks)
    assert cases
    for case, answer in zip(cases, answers, strict=True):
        assert answer == case["result"], case["name"]


def test_both_rules_decide_as_the_python_client_does(run: Run) -> None:
    cases = list(_cases())
    tasks: list[tuple[str, Mapping[str, Any]]] = []
    for unit_id, sample in cases:
        tasks.append(("sample", {"id": unit_id, "sample": sample, "units": ["device"]}))
        tasks.append(("hash", {"salt": "a", "stream": "demo.edit", "id": unit_id}))
    answers = iter(run(tasks))
    for unit_id, sample in cases:
        expected = decide("s", sample, {"device": unit_id})
        answer = next(answers)
        assert answer["included"] == expected.included, (unit_id, sample)
        if expected.included:
            assert answer["applied"] == expected.applied, (unit_id, sample)
        assert int(next(answers)) == hash64("a", "demo.edit", unit_id)


def _cases() -> Iterator[tuple[str, dict[str, Any]]]:
    ids = [
        "",
        "é",
        "ffffffff00",
        "0",
        "zz",
        *(f"{number * 0x9E3779B97F4A7C15 & (2**64 - 1):016x}" for number in range(40)),
    ]
    samples: list[dict[str, Any]] = [{}, {"unit": "device"}, {"unit": "session", "rate": 1}, {"rate": 1}]
    for algorithm in ("hash64", "legacy32", "md5", None):
        for rate in (0, 0.001, 0.25, 1 / 3, 0.5, 0.999999, 1, 1.5, -0.1, "0.5", "x", True, None):
            sample = {"unit": "device", "rate": rate, "salt": "pepper"}
            samples.append(sample if algorithm is None else {**sample, "algorithm": algorithm})
    for unit_id in ids:
        for sample in samples:
            yield unit_id, sample
