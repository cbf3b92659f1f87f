"""Keeps the RDF of a query service up to date: what to add and what to delete after each change of an entity.

How this works: `rdf_operations` brings the changes of an entity in the order of its revisions, by holding each for a
minute, and compares them with what it knows of the entity. What follows is an operation, for which
`rdf_streaming_updater` asks the wiki for the RDF of one or two revisions. A change that comes too late, one that does
not agree with what is known, and RDF that cannot be had are events of streams of their own: who reads these can ask
for a reconciliation.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.errors import LookupNotFound, LookupRefused, LookupUnavailable
from headwater.jobs import Await, Context, Dedupe, Each, Job, NotYet, PerKey, Retry, ToStream, Transition

from ..content import ages, entities, held_events, pages, rdf_events
from ..content.bounded import Bounded, Failed, OverBudget
from ..content.entities import Action, Known

CHANGES, RECONCILE = "mediawiki.page_change.v1", "rdf-streaming-updater.reconcile"
OPERATIONS, MUTATIONS = "rdf-streaming-updater.operation.v1", "rdf-streaming-updater.mutation.v2"
LATE, INCONSISTENT = "rdf-streaming-updater.lapsed-action", "rdf-streaming-updater.state-inconsistency"
FAILURES = "rdf-streaming-updater.fetch-failure"
HOLD_MS = 60_000
HELD_MAX = 10_000
# So long after a change a replica of the wiki may not have it.
LAG_SECONDS_MAX = 10
SECONDS_MAX = 20.0
# One that stands for a library that is missing.
NOT_INSTALLED = "HANDLER_ERROR"

mutation = Bounded(Path(__file__).parent.parent / "content" / "rdf.py", "mutation", seconds=SECONDS_MAX)


def acting(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """What the event is for an entity of the domains that this job is about; raises InvalidInput."""
    domain, source = pages.field(event["meta"], "domain", str), context.settings["reconciliation_source"]
    if domain not in context.settings["domains"].split():
        return None
    if context.stream != RECONCILE:
        action = entities.action_of(pages.checked(event))
    elif source and event.get("reconciliation_source") != source:
        return None
    else:
        action = entities.reconciliation_of(event)
    return None if action is None else rdf_events.acting(action, event)


def ordered(kept: Any, event: dict[str, Any], context: Context) -> Transition:
    """Decide about an action at once if none can be missing before it; else hold it."""
    known, action = _known(kept), Action(**event["action"])
    if not action.is_reconciliation:
        if context.event_time_ms + HOLD_MS < context.watermark_ms:
            context.emit(rdf_events.lapsed(event, action), to=LATE)
            return Transition(kept, dropped="late")
        is_next = entities.follows(action, known) and not held_events.is_holding(context)
        if not is_next and not entities.is_of_the_past(action, known):
            held_events.hold(context, f"{action.rev_id:020}", HOLD_MS, HELD_MAX)
            return Transition(kept)
    known, operation = _decided(event, action, known, context)
    return Transition(_kept(known), events=[] if operation is None else [operation])


def released(kept: Any, timer: str, context: Context) -> Transition:
    """Decide about the actions whose time has come, and those before them."""
    known, made = _known(kept), []
    for one in held_events.due(context, HOLD_MS):
        known, operation = _decided(one.value, Action(**one.value["action"]), known, context)
        if operation is not None:
            made.append(held_events.passed(one, operation))
    return Transition(_kept(known), events=made)


def _decided(
    event: Mapping[str, Any], action: Action, known: Known | None, context: Context
) -> tuple[Known | None, dict[str, Any] | None]:
    """What is known after the action, and the operation, if there is one."""
    decision = entities.decided(action, known)
    if decision.inconsistency is not None:
        context.emit(rdf_events.inconsistent(event, action, known, decision.inconsistency), to=INCONSISTENT)
    return decision.known, rdf_events.operation_of(event, action, decision)


def _known(kept: Any) -> Known | None:
    return Known(*kept) if kept else None


def _kept(known: Known | None) -> list[Any] | None:
    return None if known is None else [known.rev_id, known.is_deleted]


def of_action(event: Mapping[str, Any], context: Context) -> list[Any]:
    """The wiki and the entity."""
    return [event["meta"]["domain"], event["action"]["entity_id"]]


rdf_operations = Job(
    "rdf_operations",
    (CHANGES, RECONCILE),
    steps=(
        Dedupe().step("dedupe"),
        Each("acting", acting),
        PerKey("ordered", of_action, ordered, released, keeps_rows=True, delay_ms=HOLD_MS),
    ),
    output=ToStream(OPERATIONS, "1.0.0"),
    outputs=(ToStream(LATE, "1.1.0"), ToStream(INCONSISTENT, "1.1.0")),
    # Names with spaces between; "": any that asks for a reconciliation.
    settings={"domains": "www.wikidata.org", "reconciliation_source": ""},
    summary="What the RDF of entities needs after each change of them.",
)


def asked(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The operation; raises InvalidInput."""
    return rdf_events.asked(event)


def of_entity(event: Mapping[str, Any], context: Context) -> list[Any]:
    """Operations of an entity follow one another."""
    return [event["meta"]["domain"], event["entity_id"]]


async def fetched(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The operation with the RDF that it needs; None if that cannot be had, which is an event then."""
    texts = {}
    for name in rdf_events.REVISIONS[event["operation"]]:
        try:
            texts[name] = await _turtle(event, event[name], context)
        except LookupNotFound as error:
            if ages.age_seconds(event, context) < LAG_SECONDS_MAX:
                raise NotYet(str(error)) from None
            return _failed(event, error, "ENTITY_NOT_FOUND", context)
        except rdf_events.NothingFound as error:
            return _failed(event, error, error.error_type, context)
        except (LookupRefused, LookupUnavailable) as error:
            kind = "UNKNOWN" if isinstance(error, LookupUnavailable) else "UNEXPECTED_RESPONSE"
            return _failed(event, error, kind, context)
    return {**event, "texts": texts}


async def _turtle(event: Mapping[str, Any], rev_id: int, context: Context) -> str:
    """A revision of an entity as the wiki writes it. Raises NothingFound, and errors of lookups."""
    address, domain = context.settings["entity_data"], event["meta"]["domain"]
    headers = {} if "{domain}" in address else {"Host": domain}
    url = address.replace("{domain}", domain).replace("{entity}", event["entity_id"])
    params = {"flavor": "dump", "revision": rev_id}
    answer = await context.http.get(url, params=params, headers=headers, timeout="30s", attempts=4, cache="10m")
    if not answer.bytes.strip():
        raise rdf_events.NothingFound(f"{answer.url} has answered {answer.status} without content.", answer.status)
    return str(answer.text)


def mutated(event: dict[str, Any], context: Context) -> list[dict[str, Any]]:
    """The events that say what to add and what to delete; none if the RDF cannot be read, which is an event then."""
    texts = event.pop("texts")
    if event["operation"] == "delete":
        return list(rdf_events.mutations(event, [{}]))
    about = {name: event[name] for name in ("operation", "entity_id", "rev_id", "from_rev_id") if name in event}
    try:
        parts = mutation(
            **about,
            after=texts["rev_id"],
            before=texts.get("from_rev_id"),
            chars_max=context.settings["chars_max"],
        )
    except (Failed, OverBudget) as error:
        if error.error_type == NOT_INSTALLED:
            raise
        _failed(event, error, error.error_type, context)
        return []
    context.metrics.counter("parts", len(parts))
    return list(rdf_events.mutations(event, parts))


def _failed(event: Mapping[str, Any], error: Exception, kind: str, context: Context) -> None:
    context.emit(rdf_events.failed(event, error, kind), to=FAILURES)
    context.log.warning("%s of %s: %s", event["operation"], event["entity_id"], error)


rdf_streaming_updater = Job(
    "rdf_streaming_updater",
    (OPERATIONS,),
    steps=(
        Each("asked", asked),
        Await(
            "fetched", fetched, concurrency=32, retry=Retry(within="60s", base="1s"), timeout_ms=90_000, key=of_entity
        ),
        Dedupe().step("dedupe"),
        Each("mutated", mutated),
    ),
    output=ToStream(MUTATIONS, "2.0.0"),
    outputs=(ToStream(FAILURES, "1.2.0"),),
    # `chars_max`: of the Turtle of one event.
    settings={"entity_data": "https://{domain}/wiki/Special:EntityData/{entity}.ttl", "chars_max": 128_000},
    summary="What to add to the RDF of a query service, and what to delete from it.",
)
