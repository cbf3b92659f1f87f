"""The OpenAPI description of streams: their declarations, changes, and legacy configuration."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.control.revision import RULES_MAX, TEXT_CHARS_MAX
from headwater.streams.projection import AUDIENCES
from headwater.web.openapi.parts import (
    EVENT_STREAM,
    HTML,
    JSON,
    PROBLEM,
    answer,
    content,
    header,
    needing_key,
    operation,
    path,
    problems,
    query,
    unending,
)
from headwater.web.openapi.value_schemas import (
    Node,
    anything,
    array_of,
    boolean,
    integer,
    map_of,
    moment,
    number,
    one_of,
    record,
    ref,
    text,
)

TAG = "Streams"
CHANGES_TAG = "Stream changes"
LEGACY_TAG = "Stream configuration (legacy)"
FORM = "application/x-www-form-urlencoded"
_ETAG = {"etag": "A strong entity tag, for If-None-Match."}
_NOT_CHANGED = "Not modified"


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    revision: dict[str, Node] = {
        "revision": integer("Its number; the first is 1."),
        "parent": integer("The revision it is based on."),
        "at": moment(),
        "actor": text("The name of the API key."),
        "reason": text(),
        "kind": one_of(("change", "rollback", "kill", "revive")),
        "put": array_of(ref("rule")),
        "remove": array_of(text(), "The ids of rules."),
    }
    effect: dict[str, Node] = {
        "differences": array_of(ref("difference"), "What the revision changes here and now."),
        "without_effect": map_of(array_of(text()), "Ids of rules without effect here and now → why."),
    }
    rule = _rule()
    default_headers = {**rule, "revision": integer("The revision that added it.")}
    return {
        "stream_listing": record(
            {
                "revision": integer("The latest revision of the streams."),
                "streams": map_of({"anyOf": _named_settings({})}, "Name → what the audience sees of it."),
                "unknown": map_of(text(nullable=True), "Unknown requested names → what to try instead."),
                "upcoming": array_of(_upcoming(), "Changes of the next 24 hours; for browsers."),
            },
            optional=("unknown", "upcoming"),
        ),
        "stream": {"anyOf": _named_settings({"stream": text("The name.")})},
        "rule": record(rule, optional=("set", "unset", "when", "priority"), closed=True),
        "revision": record(revision),
        "changed": record({**revision, **effect}, optional=("without_effect",)),
        "change_tried": record({"dry_run": boolean(), **revision, **effect}, optional=("without_effect",)),
        "difference": record(
            {
                "stream": text(),
                "path": text("The dotted key."),
                "before": {"nullable": True, "description": "null: the key was absent."},
                "after": {"nullable": True, "description": "null: the key was removed."},
            }
        ),
        "history": record(
            {
                "revision": integer("The latest revision; 0 before the first."),
                "rules": array_of(record(default_headers), "The current rules."),
                "changes": array_of(ref("revision"), "Newest first."),
            }
        ),
        "legacy_answer": _legacy_answer(),
        "legacy_settings": record(
            {"stream": text("The name, or the regular expression of a family."), "topics": array_of(text())}
        ),
    }


def paths(*, has_legacy: bool) -> dict[str, Node]:
    """Path → operations; `has_legacy`: settings of streams are also available in EventGate's format."""
    found = {
        "/v1/streams": {"get": _listing()},
        "/v1/streams/{name}": {"get": _one()},
        "/v1/stream-changes": {"get": _history(), "post": _change()},
        "/v1/stream-changes/live": {"get": _live()},
        "/v1/stream-changes/rollback": {"post": _rollback()},
        "/v1/stream-changes/kill": {"post": _kill()},
        "/v1/stream-changes/{number}": {"get": _revision()},
    }
    if has_legacy:
        found["/v1/stream-configs"] = {"get": _legacy("streamConfigs", "Settings of all streams, by name")}
        some = _legacy("someStreamConfigs", "Settings of some streams; unknown names are omitted")
        named = text(pattern="^[A-Za-z0-9._,|-]+$")
        some["parameters"] = [path("names", "Stream names, separated by commas or |.", named)]
        some["responses"]["404"] = answer("No such path", {HTML: text()})
        found["/v1/stream-configs/{names}"] = {"get": some}
    for address, name in (("/w/api.php", "streamconfigs"), ("/api.php", "streamconfigsShort")):
        found[address] = {"get": _mediawiki(name), "post": _mediawiki(name + "Post", is_form=True)}
    return found


def _listing() -> Node:
    parameters = [
        _audience(),
        query("names", "Only these, separated by commas; unknown ones are reported."),
        *_chosen(),
        query("wait", "Seconds, at most 60: with `If-None-Match`, wait this long for a change.", number()),
        _held(),
    ]
    listing = answer("The streams", {JSON: ref("stream_listing")}, _ETAG)
    answers = {"200": listing, "304": answer(_NOT_CHANGED), **problems({"404": "Unknown audience"})}
    described = operation(
        "streams",
        TAG,
        "The streams, as an audience sees them",
        answers,
        description="`public` and `browser` need no key, the other audiences do. With `wait`, a long poll.",
        parameters=parameters,
    )
    return needing_key(described, "streams:read", always=False)


def _one() -> Node:
    described = operation(
        "streamByName",
        TAG,
        "One stream",
        {
            "200": answer("The stream", {JSON: ref("stream")}, _ETAG),
            "304": answer(_NOT_CHANGED),
            **problems({"404": "Unknown stream (the hint names the nearest), or unknown audience"}),
        },
        parameters=[path("name", "The name."), _audience(), *_seen_from(), _held()],
    )
    return needing_key(described, "streams:read", always=False)


def _live() -> Node:
    says = "First `put` with everything, then `patch` with the streams that changed and the names `removed`."
    described = operation(
        "streamChangesLive",
        TAG,
        "The streams, and every change of them as it happens",
        {
            "200": answer("Server-sent events, until the client disconnects", {EVENT_STREAM: text(says)}),
            **problems({"404": "Unknown audience"}),
        },
        description=f"{says} `data` is JSON with `revision`, `at`, `streams` and `upcoming`.",
        parameters=[
            _audience(),
            query("names", "Only these, separated by commas."),
            *_chosen(),
            header("Last-Event-ID", "The `id` of the last message; if it is the newest, nothing is sent again."),
        ],
    )
    return unending(needing_key(described, "streams:read", always=False))


def _history() -> Node:
    limit = query("limit", "Number of revisions, at most 1,000; 100 if it is not a number.", integer(minimum=0))
    described = operation(
        "streamChanges",
        CHANGES_TAG,
        "The current rules, and the revisions that led to them",
        {"200": answer("The revisions, newest first", {JSON: ref("history")})},
        parameters=[limit],
    )
    return needing_key(described, "streams:read")


def _revision() -> Node:
    described = operation(
        "streamChange",
        CHANGES_TAG,
        "One revision",
        {
            "200": answer("The revision", {JSON: ref("revision")}),
            "404": answer("Unknown revision; a page if the number is invalid", {PROBLEM: ref("problem"), HTML: text()}),
        },
        parameters=[path("number", "The number of the revision.", integer(minimum=0))],
    )
    return needing_key(described, "streams:read")


def _change() -> Node:
    body = {
        "reason": _reason(),
        "put": array_of(
            ref("rule"), f"Rules to add; a rule with the same id is replaced. At most {RULES_MAX:,} in total."
        ),
        "remove": array_of(text(), "The ids of rules to remove."),
        "expected": integer("Refuse the change unless this is the latest revision.", minimum=0),
    }
    return _taking(
        ("changeStreams", "Add and remove rules, as one revision", "streams:write"),
        record(body, optional=("put", "remove", "expected")),
        parameters=[header("If-Match", "The latest revision, as `expected` in the body.")],
    )


def _rollback() -> Node:
    body = {
        "to": integer("The number of the revision; 0 means only the files.", minimum=0),
        "reason": _reason(),
        "expected": integer("Refuse the change unless this is the latest revision.", minimum=0),
    }
    return _taking(
        ("rollbackStreams", "Restore the rules of an earlier revision, as a new one", "streams:write"),
        record(body, optional=("expected",)),
        parameters=[header("If-Match", "The latest revision, as `expected` in the body.")],
    )


def _kill() -> Node:
    body = {
        "stream": text("The stream, or `*` for all.", minLength=1, maxLength=200),
        "reason": _reason(),
        "on": boolean("false: end it.", default=True),
    }
    return _taking(
        ("killStream", "Make a stream, or all streams, refuse every event", "streams:kill"),
        record(body, optional=("on",)),
    )


def _taking(named: tuple[str, str, str], body: Node, parameters: list[Node] | None = None) -> Node:
    """An operation that creates a revision. `named`: operation id, summary, scope."""
    operation_id, summary, scope = named
    given = [
        query("dry_run", "Report what would change, and change nothing.", boolean()),
        query("site", "Report the differences for this site."),
        *(parameters or []),
    ]
    described = operation(
        operation_id,
        CHANGES_TAG,
        summary,
        {
            "200": answer("What would change (dry_run)", {JSON: ref("change_tried")}),
            "201": answer("The revision, durable and in effect", {JSON: ref("changed")}, {"etag": "Its number."}),
            **problems(
                {
                    "412": "There was another change, or the expected revision is not the latest",
                    "413": "The body is over the limit",
                    "422": "The change is invalid, or not allowed; nothing was changed",
                    "503": "The log cannot be written at the moment",
                    "507": "The disk is full; nothing was stored",
                }
            ),
        },
        parameters=given,
        requestBody={"required": True, "content": content({JSON: body})},
    )
    return unending(needing_key(described, scope))


def _legacy(operation_id: str, summary: str) -> Node:
    settings = map_of(ref("legacy_settings"), "Name → settings.")
    return operation(operation_id, LEGACY_TAG, summary, {"200": answer("Success", {JSON: settings})})


def _mediawiki(operation_id: str, *, is_form: bool = False) -> Node:
    many = "several separated by |"
    parameters = {
        "action": "`streamconfigs`.",
        "streams": f"Names, {many} (default: all).",
        "constraints": f"Settings the streams must have, such as `sample[unit]=session`; {many}.",
        "all_settings": "Accepted, but without effect: all settings are returned.",
        "format": "`json`, for errors: otherwise they are pages. Errors have status 200, too.",
        "formatversion": "`2` or `latest`.",
        "callback": "The name of a JavaScript function to call with the response.",
        "origin": "`*`: pages of other origins may read the response.",
    }
    schema = {name: text(description) for name, description in parameters.items()}
    schema["action"]["enum"] = ["streamconfigs"]
    as_page = dict.fromkeys((HTML, "text/javascript"), text())
    found = answer("The settings, or an error", {JSON: ref("legacy_answer"), **as_page})
    found["headers"] = {"MediaWiki-API-Error": {"description": "The code of an error.", "schema": text()}}
    described = operation(
        operation_id,
        LEGACY_TAG,
        "Stream configuration as MediaWiki's API answers it" + (" (as a form)" if is_form else ""),
        {"200": found},
    )
    if is_form:
        body = {"type": "object", "required": ["action"], "properties": schema}
        described["requestBody"] = {"content": content({FORM: body})}
        described["responses"] |= problems({"413": "The form is over the limit"})
        return described
    described["responses"]["304"] = answer(_NOT_CHANGED + " (`streams.compatible_api_etag`)")
    described["parameters"] = [
        {"name": name, "in": "query", "description": one.pop("description"), "schema": one}
        for name, one in schema.items()
    ]
    described["parameters"][0]["required"] = True
    return described


def _legacy_answer() -> Node:
    """The JSON responses of the legacy API: the streams, or an error."""
    error = record({"error": record({"code": text(), "info": text()})})
    return {"anyOf": [record({"streams": {"description": "Name → settings; [] if there are none."}}), error]}


def _rule() -> dict[str, Node]:
    place: Node = {"oneOf": [text(), array_of(text())]}
    when = {
        "site": place,
        "site_group": place,
        "realm": place,
        "percent": number("The share of sites, selected by a hash of the rule's id.", minimum=0, maximum=100),
        "from": moment(),
        "until": moment(),
    }
    return {
        "id": text("Its name; a rule with the same id replaces it.", minLength=1, maxLength=100),
        "stream": text("The stream, the pattern of a family, or `*` for all.", minLength=1, maxLength=200),
        "set": anything("Keys of the stream file that it overrides."),
        "unset": array_of(text(), "Dotted keys that are removed first."),
        "when": record(when, optional=tuple(when), closed=True),
        "priority": integer(
            "If several rules apply, the highest and then the latest wins.", minimum=-1_000_000, maximum=1_000_000
        ),
    }


def _reason() -> Node:
    return text("The reason, for the history.", minLength=1, maxLength=TEXT_CHARS_MAX, pattern=r"\S")


def _upcoming() -> Node:
    return record(
        {
            "at": moment(),
            "streams": map_of({"anyOf": _named_settings({})}, "The streams that change then."),
            "removed": array_of(text()),
        }
    )


def _named_settings(named: Mapping[str, Node]) -> list[Node]:
    """What each audience sees of a stream, preceded by `named`."""
    title, topics = text("The title of its schema.", nullable=True), array_of(text())
    key_fields = map_of(text(), "Key → the field it is taken from.")
    public = {
        "schema_title": title,
        "summary": text(),
        "description": text(),
        "owner": text(nullable=True),
        "tags": array_of(text()),
        "stage": text(nullable=True),
        "privacy_class": text(),
        "event_time_field": text(),
    }
    intake = {
        "schema_title": title,
        "destination_event_service": text(nullable=True),
        "enabled": boolean("false: every event is refused."),
        "topics": topics,
        "message_key_fields": key_fields,
        "headers": map_of(text(nullable=True), "Field → the request header that fills it."),
        "meta_dt": one_of(("when_absent", "always")),
        "deduplicate": boolean(),
    }
    ingestion = {
        "schema_title": title,
        "topics": topics,
        "message_key_fields": key_fields,
        "event_time_field": text(),
        "canary_events_enabled": boolean(),
        "consumers": anything("As the stream declares them."),
        "privacy_class": text(),
        "partitions": integer(),
    }
    browser = {
        "enabled": boolean("false: send nothing."),
        "sample": anything("The share to send: `unit`, `rate`."),
        "client": anything("Settings of the client library."),
    }
    return [
        {"title": "public", **record({**named, **public}, closed=True)},
        {"title": "browser", **record({**named, **browser}, optional=tuple(browser), closed=True)},
        {"title": "intake", **record({**named, **intake}, closed=True)},
        {"title": "ingestion", **record({**named, **ingestion}, closed=True)},
        {
            "title": "internal",
            **record(
                {**named, "topics": topics, "apiVersion": text(), "kind": text()}, optional=("apiVersion", "kind")
            ),
        },
    ]


def _audience() -> Node:
    return query("audience", "The audience.", {**one_of(tuple(AUDIENCES)), "default": "public"})


def _seen_from() -> list[Node]:
    return [query("site", "The site, whose overrides apply."), query("realm", "The realm, whose overrides apply.")]


def _chosen() -> list[Node]:
    return [
        query("q", "Words that must all occur in name, schema title, summary or owner."),
        query(
            "constraints", "`key=value`, several separated by |: dotted keys of the stream file, or legacy settings."
        ),
        *_seen_from(),
    ]


def _held() -> Node:
    return header("If-None-Match", "The ETag of the client's copy.")
