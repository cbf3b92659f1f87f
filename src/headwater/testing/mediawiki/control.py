"""The control plane, which no real wiki has: rules, rows and the log of a stand-in over HTTP, under `/__fake__/`."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson

from headwater.errors import ConfigInvalid
from headwater.testing.mediawiki.exchange import Answer, Request, json_answer
from headwater.testing.mediawiki.rows import parse_rows
from headwater.testing.mediawiki.rules import AnyRule
from headwater.testing.mediawiki.stand_in import MediaWikiStandIn

PREFIX = "/__fake__/"


def answer(stand_in: MediaWikiStandIn, request: Request) -> Answer:
    """What the control plane answers: 200, 400 with the reason where something is wrong, or 404."""
    try:
        match request.method, request.path.removeprefix(PREFIX):
            case "POST", "rules":
                stand_in.set_rules(_json(request.body))
                return json_answer(_rules(stand_in))
            case "GET", "rules":
                return json_answer(_rules(stand_in))
            case "GET", "requests":
                return json_answer([one.as_json() for one in stand_in.requests])
            case "POST", "revisions":
                added = stand_in.add(parse_rows(request.body.split(b"\n"), file="body"))
                return json_answer({"added": added, "revisions": stand_in.count()})
            case "GET" | "POST", "reset":
                stand_in.reset()
                return json_answer({"reset": True, "revisions": stand_in.count()})
            case _:
                known = "POST rules, GET rules, GET requests, POST revisions, GET reset"
                return json_answer({"error": f"There is no {request.method} {request.path}. There is: {known}."}, 404)
    except ConfigInvalid as error:
        return json_answer({"error": str(error)}, 400)


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ConfigInvalid(f"is not JSON: {error}.", file="body") from None


def _rules(stand_in: MediaWikiStandIn) -> list[dict[str, Any]]:
    return [{**_written(rule), "hits": hits} for rule, hits in stand_in.rules()]


def _written(rule: AnyRule) -> dict[str, Any]:
    return {"mode": rule.MODE, **dataclasses.asdict(rule)}
