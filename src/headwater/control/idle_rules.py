"""Finds the rules of a change that have no effect here and now, and why, to warn its author."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from headwater.control.revision import ALL_STREAMS, Rule
from headwater.declaration import nearest
from headwater.streams.layers import Scope, StreamLayers, When
from headwater.times import ms_of, utc_seconds


def idle_rules(
    rules: Iterable[Rule], changed: Collection[str], layers: StreamLayers, scope: Scope
) -> dict[str, list[str]]:
    """{id: reasons} of the rules that have no effect for `scope`. `changed`: the streams that change."""
    found = {}
    for rule in rules:
        reasons = _reasons(rule.layer(0).when, layers, scope)
        if not reasons and not (changed if rule.stream == ALL_STREAMS else rule.stream in changed):
            reasons = ["Its values are set already, or a rule with precedence sets others."]
        if reasons:
            found[rule.id] = reasons
    return found


def _reasons(when: When, layers: StreamLayers, scope: Scope) -> list[str]:
    """Why a rule with this condition does not apply to `scope`; empty if it does."""
    if when.holds(scope, layers.groups_of(scope.site)):
        return []
    found = []
    at = scope.at or 0.0
    if when.not_before is not None and at < when.not_before:
        found.append(f"It has no effect before {utc_seconds(ms_of(when.not_before))}.")
    if when.not_after is not None and at >= when.not_after:
        found.append(f"It has had no effect since {utc_seconds(ms_of(when.not_after))}.")
    for group in sorted(when.groups - set(layers.groups)):
        near = nearest(group, layers.groups)
        known = f'Did you mean "{near}"?' if near else "Groups are declared in sites.yaml, next to the stream files."
        found.append(f'There is no site group "{group}". {known}')
    if when.realms and scope.realm not in when.realms:
        found.append(f"It applies in the realm {', '.join(sorted(when.realms))}; this platform is in {scope.realm}.")
    if _is_elsewhere(when, layers, scope):
        seen = f"the site {scope.site}" if scope.site else "no particular site"
        found.append(f"It applies to some sites only, and this is the view of {seen}: use ?site=NAME.")
    return found


def _is_elsewhere(when: When, layers: StreamLayers, scope: Scope) -> bool:
    """Whether the condition may match some sites, but not this one."""
    if when.groups and when.groups.isdisjoint(layers.groups):
        return False
    place = When(sites=when.sites, groups=when.groups, percent=when.percent, draw=when.draw)
    return not place.holds(scope, layers.groups_of(scope.site))
