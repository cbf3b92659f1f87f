"""What models say about each revision: one event with the scores of all, and one for each model.

The revision is in the request, with its content, so that the models need not ask the wiki for it. The server has the
interface of ORES, version 3. It is no longer run by Wikimedia; who runs one names it by `--set server=…`.
"""

from collections.abc import Mapping
from typing import Any

from headwater.jobs import Await, Context, Dedupe, Each, Job, Retry, ToStream

from ..content import model_call, pages

MODELS = ("damaging", "goodfaith")
SETTINGS = {"server": "", "timeout": "30s"}
PERFORMER = {
    "user_text": "user_text",
    "user_id": "user_id",
    "user_groups": "groups",
    "user_is_bot": "is_bot",
    "user_edit_count": "edit_count",
    "user_registration_dt": "registration_dt",
}


def checked(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The event if it has a new revision that everybody may read; raises InvalidInput."""
    event = pages.checked(event, context)
    pages.field(event["meta"], "domain", str)
    is_new = event["page_change_kind"] in pages.EDITS
    return event if is_new and pages.newest(event).text is not None else None


async def scored(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event about the scores. What fails until the retries are over has none; a model that fails has an error."""
    wiki, rev_id = event["wiki_id"], event["revision"]["rev_id"]
    answer = await model_call.ask(context, f"/v3/scores/{wiki}/{rev_id}?models={'|'.join(MODELS)}", {"event": event})
    found = model_call.scores_of(answer, wiki, rev_id)
    return {
        **about(event),
        **({"scores": found.scores} if found.scores else {}),
        **({"errors": found.errors} if found.errors else {}),
    }


def about(event: Mapping[str, Any]) -> dict[str, Any]:
    """The revision in the words of the older events."""
    page, revision = event["page"], event["revision"]
    made = {
        "meta": event["meta"],
        "dt": event["dt"],
        "database": event["wiki_id"],
        "page_id": page["page_id"],
        "page_title": page["page_title"],
        "page_namespace": page.get("namespace_id"),
        "page_is_redirect": page.get("is_redirect"),
        "rev_id": revision["rev_id"],
        "rev_parent_id": revision.get("rev_parent_id"),
        "rev_timestamp": revision["rev_dt"],
    }
    editor = revision.get("editor") or event.get("performer")
    if isinstance(editor, Mapping) and revision.get("is_editor_visible") is not False:
        made["performer"] = {name: editor[given] for name, given in PERFORMER.items() if editor.get(given) is not None}
    return {name: value for name, value in made.items() if value is not None}


def by_model(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The same, and an event with the score of each model that has one."""
    for model in MODELS:
        if model in event.get("scores", {}):
            without = {name: value for name, value in event.items() if name != "errors"}
            context.emit({**without, "scores": {model: event["scores"][model]}}, to=of_model(model))
    return event


def of_model(model: str) -> str:
    """The stream with the scores of one model."""
    return f"mediawiki.revision_score_{model}"


revision_score = Job(
    "revision_score",
    ("mediawiki.page_content_change.v1",),
    steps=(
        Each("checked", checked),
        Await("scored", scored, concurrency=16, retry=Retry(within="60s", base="1s"), key=pages.key),
        Dedupe().step("dedupe"),
        Each("by_model", by_model),
    ),
    output=ToStream("mediawiki.revision-score", "3.0.0"),
    outputs=tuple(ToStream(of_model(model), "3.0.0") for model in MODELS),
    settings=SETTINGS,
    summary="What models say about each revision.",
)
