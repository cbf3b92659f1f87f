"""The settings of jobs: names and defaults in `@job(settings=…)`, changed by the project."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headwater.declaration import Declaration, KeyPath, dotted, nearest, scalar
from headwater.errors import ConfigInvalid
from headwater.event import read_json
from headwater.jobs.arguments import Arguments, shown
from headwater.jobs.job import Job
from headwater.jobs.state_type import is_json_value

PATH = ("jobs", "settings")
FILE = Declaration("headwater.yaml", None)
_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
}


def checked_settings(asked: Arguments, name: str) -> Mapping[str, Any]:
    """The argument `name` as settings: names and defaults. Raises JobInvalid, at the argument."""
    value = asked.value(name, {})
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
        raise asked.wrong(name, 'a mapping of names to defaults, such as {"limit": 10}')
    if "\0" in "".join(value) or any("." in key for key in value):
        raise asked.refused(name, f"`{name}`: the name of a setting has no dots.", "They are set as JOB.NAME.")
    if wrong := [key for key, default in value.items() if not is_json_value(default)]:
        raise asked.refused(
            name, f"`{name}`: the default of {wrong[0]}, {shown(value[wrong[0]])}, is not a JSON value."
        )
    return dict(value)


def with_settings(
    jobs: Sequence[Job],
    written: Mapping[str, Any],
    refused: Callable[[ConfigInvalid], None] | None = None,
    *,
    source: Declaration = FILE,
) -> list[Job]:
    """The jobs with what the project writes under `jobs.settings` in `source`: job → name → value.

    Raises ConfigInvalid for a job or a name that does not exist, naming the nearest, and for a value of another type;
    if `refused` is given, it is called with each of these errors instead, and the defaults remain.
    """
    made = {job.name: job for job in jobs}
    for name, values in written.items():
        try:
            if name not in made:
                raise source.refusal((*PATH, name), f"there is no job {name}.", _hint(name, list(made)))
            made[name] = dataclasses.replace(made[name], settings=_changed(made[name], values, source, (*PATH, name)))
        except ConfigInvalid as error:
            if refused is None:
                raise
            refused(error)
    return list(made.values())


def settings_of_texts(job: Job, written: Mapping[str, str], source: str) -> Mapping[str, Any]:
    """The settings of `job` with others for some, as texts on a command line: `5`, `true`, `[1, 2]`.

    Raises ConfigInvalid, as `with_settings` does; `source` is what errors name.
    """
    values: dict[str, Any] = {}
    for name, text in written.items():
        try:
            is_text = not text or isinstance(job.settings.get(name), str)
            values[name] = text if is_text else read_json(text) if text[0] in "[{" else scalar(text)
        except ValueError as error:
            raise ConfigInvalid(f"{name} cannot be {shown(text)}: {error}.", file=source) from None
    return _changed(job, values, Declaration(source, None), ())


def _changed(job: Job, written: Any, source: Declaration, path: KeyPath) -> Mapping[str, Any]:
    if not isinstance(written, Mapping):
        raise source.refusal(path, f"{dotted(path)} must be a mapping of settings to values, not {shown(written)}.")
    values = dict(job.settings)
    for name, value in written.items():
        at = (*path, name)
        if name not in values:
            hint = _hint(name, list(job.settings))
            raise source.refusal(at, f"the job {job.label} has no setting {name}.", hint)
        kind = type(values[name])
        if values[name] is None or type(value) is kind or (kind is tuple and type(value) is list):
            values[name] = value
        elif kind is float and type(value) is int:
            values[name] = float(value)
        else:
            hint = f"Its default is {shown(values[name])}."
            raise source.refusal(at, f"{dotted(at)} must be {_KINDS[kind]}, not {shown(value)}.", hint)
    return values


def _hint(name: str, known: Sequence[str]) -> str:
    near = nearest(str(name), known)
    if near is not None:
        return f"Did you mean {near}?"
    return f"Known: {', '.join(known)}." if known else "It has none."
