"""What each page presupposes, and what is there when its reader has come to the end.

A page is read in a fresh project made by `headwater init`, unless its scene says otherwise.
"""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from headwater.cli.init import write_project
from headwater.testing.eventually import eventually_blocking
from pages.reader import Reader

Act = Callable[[Reader], None]
DEADLINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Scene:
    """`project`: whether there is one from the beginning, and the reader in it. `given`: what else there is.
    `active`: whether the environment with the command is on the path.

    `before`: what the reader does, because the page says so in words, before the command that begins like that.
    `then`: what has to be true in the end. `needs`: "kafka" (its log is there) or "chromium".
    `elsewhere`: the test that follows this page instead, because it has to do much in between.
    """

    project: bool = True
    active: bool = True
    given: Act | None = None
    before: dict[str, Act] = field(default_factory=dict)
    then: Act | None = None
    needs: tuple[str, ...] = ()
    elsewhere: str = ""


def project(reader: Reader) -> None:
    """A fresh project, and the reader in it."""
    write_project(reader.directory / "my-platform")
    reader.directory /= "my-platform"


def edits(reader: Reader, *, bad: int) -> None:
    """A file of a hundred edits that happened just now, `bad` of them not as the schema has it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    event = {"$schema": "/demo/edit/1.0.0", "dt": now, "wiki": "enwiki", "user": "Ada", "bot": False, "bytes": 1}
    lines = [
        {**event, "meta": {"stream": "demo.edit", "dt": now, "id": f"edit-{number}"}, "title": f"Page {number}"}
        for number in range(100)
    ]
    for line in lines[:bad]:
        line["bytes"] = "many"
    with gzip.open(reader.directory / "events.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def edits_sent(reader: Reader) -> None:
    """A hundred edits are in the stream."""
    edits(reader, bad=0)
    reader.require_server()
    shell(reader, "headwater replay events.jsonl.gz")


def shell(reader: Reader, *commands: str) -> None:
    """What the reader has done already, or does because the page says so in words."""
    for command in commands:
        code, said = reader.run(command)
        assert code == 0, f"{command}\n{said}"


def the_orders_are_in_the_table(reader: Reader) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    tables: dict[str, list[list[object]]] = {}
    while time.monotonic() < deadline and len(tables.get("latest_orders", [])) < 2:
        found = httpx.get(f"{reader.address}/v1/_page/tables").json()
        tables = {table["name"]: table["rows"] for table in found}
        time.sleep(0.2)
    assert tables["latest_orders"] == [["teapot", 1, "2026-01-31T12:00:05Z"], ["kettle", 2, "2026-01-31T12:00:00Z"]]


def the_commands_of_the_demo_work(reader: Reader) -> None:
    """The three commands the demo prints, as they are printed."""
    # The port is open a moment before the commands are printed.
    eventually_blocking(lambda: "Press Ctrl + C" in reader.server_said, seconds=DEADLINE_SECONDS)
    said = reader.server_said
    good, bad = re.findall(r"^curl .*\n.*$", said, re.MULTILINE)
    found = re.search(r"^Follow the stream:\s+(.*)$", said, re.MULTILINE)
    assert found
    for command, answer in ((good, "HTTP/1.1 201"), (bad, "HTTP/1.1 400"), (f"{found[1]} --count 1", '"demo.edit"')):
        _, output = reader.run(command)
        assert answer in output, f"{command}\n{output}"


def versioned(reader: Reader) -> None:
    """The project is in git, and as it is at `origin/main`."""
    identity = "-c user.name=Ada -c user.email=ada@example.org"
    shell(
        reader,
        "git init -q -b main .",
        "git add .",
        f"git {identity} commit -q -m first",
        "git update-ref refs/remotes/origin/main HEAD",
    )


def edits_arrive(reader: Reader, count: int) -> None:
    """So many edits are in the stream, canaries apart."""
    code, said = reader.run(f"timeout {DEADLINE_SECONDS} headwater tail demo.edit --since 2026-01-01 --count {count}")
    assert code == 0, said


def legacy_configuration(reader: Reader) -> None:
    """The stream configuration of a wiki farm, small."""
    title = {"schema_title": "demo/edit"}
    actions = {**title, "sample": {"unit": "pageview", "rate": 0}}
    streams = {"default_settings": {}, "streams": {"mediawiki.web_ui_actions": actions, "mediawiki.edit": title}}
    sampled = {"mediawiki.web_ui_actions": {"sample": {"unit": "pageview", "rate": 0.5}}}
    for name, content in (("streams", streams), ("overrides", {"production": {"streams": {"+enwiki": sampled}}})):
        (reader.directory / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")


def repositories_of_others(reader: Reader) -> None:
    """A Git directory for a new repository; next to it one with a schema, and what a registry exported."""
    home = reader.directory
    shell(
        reader,
        "mkdir old-repository mine",
        "headwater schema new shop/order --field pieces:integer! --repository old-repository",
        "headwater schema materialize --repository old-repository",
    )
    schema = {"type": "object", "properties": {"pieces": {"type": "integer"}}}
    export = [{"subject": "shop-refund", "version": 1, "id": 1, "schemaType": "JSON", "schema": json.dumps(schema)}]
    reader.directory = home / "mine"
    (reader.directory / "registry-export.json").write_text(json.dumps(export), encoding="utf-8")
    shell(reader, "git init -q -b main .")


def a_field_is_added(title: str, repository: str = "jsonschema") -> Act:
    """The current file of a schema has another optional field."""

    def act(reader: Reader) -> None:
        file = reader.directory / repository / title / "current.yaml"
        lines = file.read_text(encoding="utf-8").splitlines()
        place = max(number for number, line in enumerate(lines) if line.strip() == "properties:")
        space = lines[place].partition("p")[0]
        added = [f"{space}  note:", f"{space}    type: string", f"{space}    description: A note."]
        file.write_text("\n".join([*lines[: place + 1], *added, *lines[place + 1 :], ""]), encoding="utf-8")

    return act


def two_repositories(reader: Reader) -> None:
    """Two schema repositories, of which the first has `shop/order`."""
    for name, title in (("primary", "shop/order"), ("secondary", "shop/visit")):
        place = f"schemas-event-{name}"
        shell(
            reader,
            f"headwater schema new {title} --field pieces:integer! --repository {place}",
            f"headwater schema materialize --repository {place}",
        )


def beside_the_project(reader: Reader) -> None:
    reader.directory = reader.directory.parent


def clinic(reader: Reader) -> None:
    """The schema of what the page declares a stream for."""
    shell(
        reader,
        "headwater schema new clinic/visit --field patient:map!",
        "headwater schema materialize clinic/visit",
    )


def a_visit(reader: Reader) -> None:
    """Somebody sends what only some may read."""
    event = "--stream clinic.visit --schema /clinic/visit/1.0.0 dt=2026-01-31T12:00:00Z patient.name=Ada"
    reader.require_server()
    shell(reader, f"headwater produce {event}")


def the_service_has_another_port(reader: Reader) -> None:
    """The job of the page asks its service at the port that is used instead."""
    file = reader.directory / "headwater.yaml"
    service = f"http://127.0.0.1:{reader.port('8099')}"
    jobs = f"jobs: {{path: jobs, settings: {{language_edits: {{service: '{service}'}}}}}}"
    file.write_text(file.read_text(encoding="utf-8").replace("jobs: jobs", jobs), encoding="utf-8")


SCENES: dict[str, Scene] = {
    "docs/how-to/publish-database-changes.md": Scene(elsewhere="tests/end_to_end/test_change_data_capture.py"),
    "docs/how-to/send-alerts.md": Scene(elsewhere="tests/end_to_end/test_alerts.py"),
    "docs/how-to/change-a-running-job.md": Scene(given=Reader.require_server),
    "docs/how-to/query-with-sql.md": Scene(given=Reader.require_server),
    "README.md": Scene(project=False, active=False),
    "docs/tutorials/first-event.md": Scene(
        project=False, active=False, before={".venv/bin/headwater tail --help": the_commands_of_the_demo_work}
    ),
    "docs/tutorials/first-stream.md": Scene(project=False, then=the_orders_are_in_the_table),
    "docs/tutorials/first-job.md": Scene(
        project=False, before={"python3 -m http.server": the_service_has_another_port}
    ),
    "docs/how-to/check-schemas-in-ci.md": Scene(given=versioned),
    "docs/how-to/from-laptop-to-cluster.md": Scene(elsewhere="tests/end_to_end/test_laptop_to_cluster.py"),
    "docs/how-to/import-events.md": Scene(
        given=lambda reader: edits(reader, bad=2),
        before={"headwater log load events.jsonl.gz --timestamp-field": lambda reader: edits(reader, bad=0)},
    ),
    "docs/how-to/import-stream-configuration.md": Scene(project=False, given=legacy_configuration),
    "docs/how-to/manage-schemas.md": Scene(
        project=False,
        given=repositories_of_others,
        before={
            "headwater schema bump page/edit --suggest": a_field_is_added("page/edit"),
            "headwater schema bump fragment/common": a_field_is_added("fragment/common"),
        },
    ),
    "docs/how-to/serve-schemas.md": Scene(project=False, given=two_repositories),
    "docs/how-to/private-streams.md": Scene(given=clinic, before={"headwater tail clinic.visit": a_visit}),
    "docs/how-to/run-on-a-public-address.md": Scene(before={"headwater produce": Reader.require_server}),
    "docs/how-to/run-several-workers.md": Scene(given=beside_the_project, needs=("kafka",)),
    "src/headwater/cli/template/README.md": Scene(
        before={"headwater schema bump demo/edit": a_field_is_added("demo/edit", "schemas")}
    ),
    "docs/how-to/test-lookups.md": Scene(project=False),
    "docs/how-to/send-events-from-a-browser.md": Scene(needs=("chromium",)),
    "docs/how-to/send-events-from-python.md": Scene(then=lambda reader: edits_arrive(reader, 2)),
    "docs/how-to/read-events-from-python.md": Scene(given=edits_sent),
    "docs/how-to/replay-a-file.md": Scene(given=lambda reader: edits(reader, bad=0)),
    "docs/how-to/run-over-history.md": Scene(given=lambda reader: edits(reader, bad=0)),
}
