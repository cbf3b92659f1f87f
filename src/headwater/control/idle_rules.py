"""Says which rules of a change make no difference here and now, and why, to whoever is about to make it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from headwater.control.revision import ALL_STREAMS, Rule
from headwater.declaration import nearest
from headwater.streams.layers import Scope, StreamLayers, When
from headwater.times import ms_of, utc_seconds


def idle_rules(
    rules: Iterable[Rule], changed: Collection[str], layers: StreamLayers, scope: Scope
) -> dict[str, list[str]]:
    """{id: reasons} of the rules that change nothing of what `scope` sees. `changed`: the streams that change."""
    found = {}
    for rule in rules:
        reasons = _reasons(rule.layer(0).when, layers, scope)
        if not reasons and not (changed if rule.stream == ALL_STREAMS else rule.stream in changed):
            reasons = ["What it sets is so already, or a rule that goes before it says otherwise."]
        if reasons:
            found[rule.id] = reasons
    return found


def _reasons(when: When, layers: StreamLayers, scope: Scope) -> list[str]:
    """Why a rule with this condition does not hold for `scope`; empty where it does."""
    if when.holds(scope, layers.groups_of(scope.site)):
        return []
    found = []
    at = scope.at or 0.0
    if when.not_before is not None and at < when.not_before:
        found.append(f"It begins on {utc_seconds(ms_of(when.not_before))} and changes nothing before.")
    if when.not_after is not None and at >= when.not_after:
        found.append(f"It ended on {utc_seconds(ms_of(when.not_after))} and changes nothing any more.")
    for group in sorted(when.groups - set(layers.groups)):
        near = nearest(group, layers.groups)
        known = f'Did you mean "{near}"?' if near else "The file sites.yaml beside the stream files declares groups."
        found.append(f'There is no site group "{group}". {known}')
    if when.realms and scope.realm not in when.realms:
        found.append(f"It holds in the realm {', '.join(sorted(when.realms))}; this platform is {scope.realm}.")
    if _is_elsewhere(when, layers, scope):
        seen = f"the site {scope.site}" if scope.site else "no particular site"
        found.append(f"It holds for some sites only, and this is how {seen} sees the streams: ask with ?site=NAME.")
    return found


def _is_elsewhere(when: When, layers: StreamLayers, scope: Scope) -> bool:
    """Whether there may be sites that the condition fits, and this is none of them."""
    if when.groups and when.groups.isdisjoint(layers.groups):
        return False
    place = When(sites=when.sites, groups=when.groups, percent=when.percent, draw=when.draw)
    return not place.holds(scope, layers.groups_of(scope.site))
