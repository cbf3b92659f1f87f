"""How likely it is that an edit will be reverted, as a model on a server says.

`--set server=http://127.0.0.1:8080` names a server with the interface of Lift Wing; `server=stub` has a rule of thumb
instead of a model, whose name is in the results. For pages of the past, run the job over a file of their changes.
"""

from typing import Any

from headwater.jobs import Await, Context, Dedupe, Each, Job, Retry, ToStream

from ..content import model_call, pages

MODEL = "revertrisk-language-agnostic"
SCHEMA = "/mediawiki/page/change/"
SETTINGS = {"server": "", "timeout": "10s"}


def checked(event: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """The event if it is an edit with a parent; raises InvalidInput, UnsupportedSchema."""
    if not str(event.get("$schema", "")).startswith(SCHEMA):
        raise model_call.UnsupportedSchema(f"$schema is {event.get('$schema')!r:.100}; models know {SCHEMA}… only.")
    event = pages.checked(event, context)
    return event if event["page_change_kind"] == "edit" and event["revision"].get("rev_parent_id") else None


async def prediction(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event about what the model says. What fails until the retries are over has none."""
    if context.settings["server"] == model_call.STUB:
        return model_call.predicted(event, model_call.stub(event))
    answer = await model_call.ask(context, f"/v1/models/{MODEL}:predict", {"event": event})
    return model_call.predicted(event, model_call.prediction_of(answer))


page_predictions = Job(
    "page_predictions",
    ("mediawiki.page_change.v1",),
    steps=(
        Each("checked", checked),
        Await("prediction", prediction, concurrency=16, retry=Retry(within="60s", base="1s"), key=pages.key),
        Dedupe().step("dedupe"),
    ),
    output=ToStream("mediawiki.page_revert_risk_prediction_change.v1", "1.3.0"),
    settings=SETTINGS,
    summary="How likely it is that an edit will be reverted.",
)
