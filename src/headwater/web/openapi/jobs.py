"""The OpenAPI description of jobs: how to pause, resume, reset and rewind one."""

from __future__ import annotations

from headwater.web.openapi.parts import JSON, answer, content, needing_key, operation, path, problems, query
from headwater.web.openapi.value_schemas import Node, array_of, boolean, moment, one_of, record, ref, text

TAG = "Jobs"


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    changed: dict[str, Node] = {
        "job": text("The name of the job."),
        "do": _verb(),
        "consequences": array_of(text(), "What a reset or a rewind deletes, and what it leaves; else empty."),
    }
    return {
        "job_changed": record(changed),
        "job_change_tried": record({"dry_run": boolean("Always true."), **changed}),
    }


def paths() -> dict[str, Node]:
    """Path → operations."""
    return {"/v1/jobs/{name}": {"post": _change()}}


def _change() -> Node:
    body = {
        "do": _verb(),
        "to": moment("For `rewind`: the time of receipt from which on the job processes everything again."),
    }
    described = operation(
        "changeJob",
        TAG,
        "Pause, resume, reset or rewind a job",
        {
            "200": answer("The consequences (dry_run)", {JSON: ref("job_change_tried")}),
            "202": answer("The request is durable; the job does so within seconds", {JSON: ref("job_changed")}),
            **problems(
                {
                    "404": "Unknown job",
                    "413": "The body is over the limit",
                    "422": "The request is invalid; nothing was changed",
                    "503": "The log cannot be written at the moment",
                    "507": "The disk is full; nothing was stored",
                }
            ),
        },
        parameters=[
            path("name", "The name of the job."),
            query("dry_run", "Report the consequences, and change nothing.", boolean()),
        ],
        requestBody={"required": True, "content": content({JSON: record(body, optional=("to",))})},
    )
    return needing_key(described, "streams:write")


def _verb() -> Node:
    return one_of(("pause", "resume", "reset", "rewind"))
