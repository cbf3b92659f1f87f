"""Calls of models that judge revisions: what is asked of a server, and what of its answer is a prediction.

How this works: a prediction is what a server has answered, or there is none. An answer without one, or with numbers
that are no probabilities, is refused. The stub is no model: it is a rule of thumb for a project without a server, and
its name says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from headwater.jobs import Context, Reject

from .valid_events import only_declared

# So far from 1 may probabilities of classes, of which one holds, add up.
TOLERANCE = 1e-6
STUB = "stub"
PREDICTION_SCHEMA = "/mediawiki/page/prediction_classification_change/1.3.0"


class AnswerUnusable(ValueError):
    """The server has answered, and not with a prediction."""

    error_type = "UNEXPECTED_RESPONSE"


class UnsupportedSchema(ValueError):
    """The event is not of a kind that models know."""

    error_type = "UNSUPPORTED_SCHEMA"


@dataclass(frozen=True)
class Prediction:
    """What a model says: the classes that hold, and the probability of each class."""

    model_name: str
    model_version: str
    predictions: list[str]
    probabilities: dict[str, float]


async def ask(context: Context, path: str, body: Mapping[str, Any]) -> Any:
    """The answer of the server in the setting `server` to a `POST` of JSON. Raises Reject without one, and errors of
    lookups, which the retries of the job are about.
    """
    server = context.settings["server"]
    if not server:
        raise Reject(
            f"The job {context.scope.job} knows no models; set `server` to the address of a server, or to stub."
        )
    answer = await context.http.request(
        "POST", f"{server.rstrip('/')}{path}", json=body, attempts=1, timeout=context.settings["timeout"]
    )
    return answer.json()


def prediction_of(answer: Any) -> Prediction:
    """The prediction in an answer of Lift Wing. Raises AnswerUnusable."""
    output = answer.get("output") if isinstance(answer, Mapping) else None
    if not isinstance(output, Mapping):
        raise AnswerUnusable("The answer has no `output`.")
    probabilities = _probabilities(output.get("probabilities"))
    if abs(math.fsum(probabilities.values()) - 1) > TOLERANCE:
        raise AnswerUnusable("The probabilities of the answer do not add up to 1.")
    name, version = answer.get("model_name"), answer.get("model_version")
    if not isinstance(name, str) or not name or version is None:
        raise AnswerUnusable("The answer has no `model_name` or no `model_version`.")
    return Prediction(name, _text(version), _classes(output.get("prediction")), probabilities)


@dataclass(frozen=True)
class Scores:
    """What the models of ORES say about a revision: by model a score, or an error, as the events have them."""

    scores: dict[str, dict[str, Any]]
    errors: dict[str, dict[str, Any]]


def scores_of(answer: Any, wiki: str, rev_id: int) -> Scores:
    """The scores of a revision in an answer of ORES, version 3. Raises AnswerUnusable."""
    of_wiki = answer.get(wiki) if isinstance(answer, Mapping) else None
    known = of_wiki.get("models") if isinstance(of_wiki, Mapping) else None
    found = of_wiki.get("scores") if isinstance(of_wiki, Mapping) else None
    found = found.get(str(rev_id)) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(known, Mapping):
        raise AnswerUnusable(f"The answer has no scores of the revision {rev_id} of {wiki}.")
    scores, errors = {}, {}
    for model, said in sorted(found.items()):
        version = known.get(model)
        about = {"model_name": model, "model_version": _text((version or {}).get("version", ""))}
        if not isinstance(said, Mapping) or not isinstance(said.get("score", {}), Mapping):
            raise AnswerUnusable(f"What the answer says of the model {model} is no score.")
        if "score" in said:
            score = said["score"]
            probability = _probabilities(score.get("probability"))
            scores[model] = {**about, "prediction": _classes(score.get("prediction")), "probability": probability}
        else:
            error = said["error"] if isinstance(said.get("error"), Mapping) else {}
            errors[model] = {**about, "type": str(error.get("type")), "message": str(error.get("message"))}
    return Scores(scores, errors)


def _classes(predicted: Any) -> list[str]:
    if isinstance(predicted, list):
        return [_text(one) for one in predicted]
    if predicted is None or isinstance(predicted, Mapping):
        raise AnswerUnusable("The answer has no prediction.")
    return [_text(predicted)]


def _text(value: Any) -> str:
    """As JSON has it: true, not True."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _probabilities(found: Any) -> dict[str, float]:
    if not isinstance(found, Mapping) or not found:
        raise AnswerUnusable("The answer has no probabilities.")
    for name, number in found.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
            raise AnswerUnusable(f"The probability of {name!r:.100} is {number!r:.100}; it has to be from 0 to 1.")
    return {_text(name): float(number) for name, number in found.items()}


def predicted(event: Mapping[str, Any], prediction: Prediction) -> dict[str, Any]:
    """The event about a prediction: the fields of the change of the page which its schema has, and the prediction."""
    return {**only_declared(event, PREDICTION_SCHEMA), "predicted_classification": asdict(prediction)}


def stub(event: Mapping[str, Any]) -> Prediction:
    """A rule of thumb without any training: who takes much away from a page, with few edits before, is reverted."""
    revision, prior = event["revision"], (event.get("prior_state") or {}).get("revision") or {}
    after, before = (size if isinstance(size := one.get("rev_size"), int) else 0 for one in (revision, prior))
    taken = max(before - after, 0) / max(before, 1)
    edits = (revision.get("editor") or {}).get("edit_count")
    is_new = not isinstance(edits, int) or edits < 10
    likely = round(1 / (1 + math.exp(3 - 4 * taken - 1.5 * is_new)), 6)
    probabilities = {"true": likely, "false": round(1 - likely, 6)}
    return Prediction("stub-without-training", "1", [_text(likely > 0.5)], probabilities)
