// Shows the way of each edit: the streams of the platform, read as they are written. Content is only ever set as text.
"use strict";

(async () => {
  const KEEP_MAX = 200;
  const SHOWN_CHARS_MAX = 6000;
  const LOOK_MS = 100;
  const QUIET_MS = 1500;
  const byId = (id) => document.getElementById(id);
  const whole = new Intl.NumberFormat("en");
  const opened = Date.now();
  const edits = new Map();
  const byRequest = new Map();
  const purges = new Map();
  const outcomes = new Map();
  let shown = null;
  let picked = false;

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  const at = (event, path) => path.split(".").reduce((found, name) => (found === undefined || found === null ? undefined : found[name]), event);
  const plural = (count, one, many) => `${whole.format(count)} ${count === 1 ? one : many || `${one}s`}`;
  const duration = (ms) => (ms >= 10000 ? `${(ms / 1000).toFixed(1)} s` : `${whole.format(Math.round(ms))} ms`);

  const demo = await (await fetch("/demo")).json();
  const platform = demo.platform;
  const stations = new Map(demo.stations.map((station) => [station.stream, station]));
  byId("notice").textContent = demo.notice;
  for (const link of document.querySelectorAll("[data-platform]")) link.href = platform + link.dataset.platform;
  if (demo.live) {
    byId("editor").hidden = true;
    document.querySelector(".columns").classList.add("alone");
    byId("about").textContent = "Waiting for the next edit.";
  }

  // ---- what an event says, in a few words --------------------------------------------------------------------------

  const bytes = (count) => `${count > 0 ? "+" : ""}${plural(count, "byte")}`;

  const gists = {
    "mediawiki.wiki_action.v1": (e) => (e.action === "create" ? "a new page" : "an edit of a page"),
    "mediawiki.recentchange": (e) => bytes(e.length.new - (e.length.old || 0)),
    "mediawiki.page_change.v1": (e) => `${e.page_change_kind}, ${e.changelog_kind} of the page's row`,
    "mediawiki.page_content_change.v1": (e) => `${plural((at(e, "revision.content_slots.main.content_body") || "").length, "character")} of text`,
    "research.revision_diff.v1": (e) => (e.diff === null ? `none: ${e.reason}` : `${plural(e.lines_added, "line")} added, ${whole.format(e.lines_removed)} removed`),
    "mediawiki.page_references_change.v1": (e) => `${e.added.length} added, ${e.removed.length} removed`,
    "mediawiki.page_edit_types.v1": editTypes,
    "mediawiki.page_revert_risk_prediction_change.v1": (e) => `${Math.round(100 * e.predicted_classification.probabilities.true)} % likely to be reverted`,
    "mediawiki.search_update.v1": (e) => e.change_type,
    "mediawiki.search_document.v1": (e) => `${e.change_type}, ${plural(e.text_bytes || 0, "byte")} of text`,
    "cache_purge.outcome.v1": (e) => (e.servers_failed ? `${plural(e.servers_failed, "cache")} not reached` : `${e.status}: ${e.target}`),
  };

  function editTypes(event) {
    const found = [];
    for (const [element, counts] of Object.entries(event.summary || event.edit_types || {})) {
      if (typeof counts === "object" && counts !== null) {
        for (const [what, count] of Object.entries(counts)) if (typeof count === "number" && count > 0) found.push(`${element} ${what} ${count}`);
      }
    }
    return found.slice(0, 6).join(", ") || "see the event";
  }

  function gist(stream, event) {
    try {
      return gists[stream] ? gists[stream](event) : "";
    } catch {
      return "";
    }
  }

  // ---- the rows of a journey ----------------------------------------------------------------------------------------

  function stationRow(place, isStore) {
    const row = make("li");
    row.dataset.state = "wait";
    const mark = make("span", "mark");
    mark.setAttribute("aria-hidden", "true");
    const time = make("span", "time");
    time.append(make("span", "ms"), make("span", "bar-line"));
    const says = isStore ? make("span", "quiet says", place.says) : make("details", "quiet says");
    if (!isStore) {
      says.append(make("summary", "", place.says), make("pre"), make("span", "ways"));
      says.addEventListener("toggle", () => says.open && fillDetails(says, place));
    }
    row.append(mark, make("span", "name", place.title), make("span", "result"), time, says);
    row.querySelector(".bar-line").hidden = true;
    return row;
  }

  function fillDetails(more, station) {
    const arrival = shown && shown.arrivals.get(station.stream);
    more.querySelector("pre").hidden = !arrival;
    const name = make("code", "", station.stream);
    more.querySelector(".ways").replaceChildren(name);
    if (!arrival) return;
    const diff = station.stream === "research.revision_diff.v1" && arrival.event.diff;
    const text = diff || JSON.stringify(arrival.event, null, 2);
    more.querySelector("pre").textContent = text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)} …` : text;
    const stream = make("a", "", "from this event on");
    stream.href = `${platform}/v2/stream/${station.stream}?since=${encodeURIComponent(at(arrival.event, "meta.dt"))}`;
    const ways = [name, stream];
    if (station.job) {
      const job = make("a", "", `job ${station.job}`);
      job.href = `${platform}/monitoring#job-${station.job}`;
      ways.push(job);
    }
    more.querySelector(".ways").replaceChildren(...ways);
  }

  const rows = new Map();
  for (const station of demo.stations) {
    rows.set(station.stream, stationRow(station, false));
    byId("stations").append(rows.get(station.stream));
  }
  for (const store of demo.stores) {
    rows.set(store.name, stationRow(store, true));
    byId("stores").append(rows.get(store.name));
  }

  // Of the edit that is shown, what is not to come: a score of a new page, references that did not change.
  function isNone(edit, place) {
    if (place.edits === "changes") return edit.isNew;
    return place.edits === "references" && (edit.arrivals.has("mediawiki.page_edit_types.v1") && Date.now() - edit.lastAt > QUIET_MS);
  }

  const places = () => [...demo.stations, ...demo.stores];
  const arrivalOf = (edit, place) => edit.arrivals.get(place.stream === undefined || place.newest !== undefined ? place.name : place.stream);
  const keyOf = (place) => (place.newest !== undefined ? place.name : place.stream);

  function slowest(edit) {
    return Math.max(0, ...[...edit.arrivals.values()].map((arrival) => arrival.ms || 0));
  }

  function missing(edit) {
    return places().filter((place) => !arrivalOf(edit, place) && !isNone(edit, place));
  }

  function show(edit) {
    const isOther = shown !== edit;
    shown = edit;
    const longest = slowest(edit) || 1;
    byId("journey-heading").textContent = `The journey of revision ${edit.rev}`;
    byId("about").textContent = `${edit.title}${edit.user ? `, by ${edit.user}` : ""}${edit.comment ? `: ${edit.comment}` : ""}`;
    for (const place of places()) {
      const row = rows.get(keyOf(place));
      const arrival = arrivalOf(edit, place);
      const state = arrival ? "arrived" : isNone(edit, place) ? "none" : "wait";
      const hasCome = !isOther && state === "arrived" && row.dataset.state !== "arrived";
      row.classList.toggle("fresh", hasCome);
      row.dataset.state = state;
      const nothing = place.edits === "changes" ? "not for a new page" : "no reference changed";
      row.querySelector(".result").textContent = arrival ? (arrival.event ? gist(place.stream, arrival.event) : "stored") : state === "none" ? nothing : "";
      row.querySelector(".ms").textContent = arrival ? (arrival.ms === null ? "before" : duration(arrival.ms)) : "";
      const line = row.querySelector(".bar-line");
      line.hidden = !arrival || arrival.ms === null;
      if (!line.hidden) line.style.width = `${Math.max(2, (100 * arrival.ms) / longest)}%`;
      const more = row.querySelector("details");
      if (more && isOther) more.open = false;
      if (more && more.open && hasCome) fillDetails(more, place);
    }
    const left = missing(edit).length;
    const total = places().filter((place) => arrivalOf(edit, place)).length;
    byId("total").textContent = left ? "" : `All ${total} have it${longest > 1 ? `, the last after ${duration(longest)}` : ""}.`;
    listEdits();
  }

  function listEdits() {
    const newest = [...edits.values()].sort((a, b) => b.at - a.at || b.rev - a.rev);
    for (const old of newest.splice(KEEP_MAX)) edits.delete(old.rev);
    byId("count").textContent = whole.format(edits.size);
    byId("edits").replaceChildren(...newest.map((edit) => {
      const row = make("tr");
      if (edit === shown) row.setAttribute("aria-current", "true");
      const button = make("button", "link-button", String(edit.rev));
      button.type = "button";
      button.addEventListener("click", () => {
        picked = true;
        show(edit);
        byId("journey").focus();
      });
      const first = make("td");
      first.append(button);
      const done = places().filter((place) => arrivalOf(edit, place)).length;
      const wanted = places().filter((place) => !isNone(edit, place)).length;
      row.append(first, make("td", "", edit.title), make("td", "wide", edit.user || ""), make("td", "wide", edit.comment || ""),
        make("td", "number", `${done} of ${wanted}`), make("td", "number", slowest(edit) ? duration(slowest(edit)) : ""));
      return row;
    }));
  }

  // ---- events --------------------------------------------------------------------------------------------------------

  function editOf(rev) {
    if (!edits.has(rev)) edits.set(rev, { rev, at: 0, title: "", arrivals: new Map(), lastAt: 0, isNew: false });
    return edits.get(rev);
  }

  function arrive(edit, key, event, now) {
    if (edit.arrivals.has(key)) return;
    edit.arrivals.set(key, { event, now, ms: null });
    edit.lastAt = Date.now();
  }

  // What was there before this window was opened has no time of arrival here.
  function time(edit) {
    for (const arrival of edit.arrivals.values()) {
      if (arrival.ms === null && edit.at && edit.at >= opened) arrival.ms = Math.max(0, arrival.now - edit.at);
    }
  }

  function take(event) {
    const now = Date.now();
    const stream = at(event, "meta.stream");
    if (stream === demo.purges) {
      purges.set(event.meta.id, event.meta.request_id);
      return matchOutcomes();
    }
    if (stream === demo.outcomes) {
      outcomes.set(event.event_id, { event, now });
      return matchOutcomes();
    }
    const station = stations.get(stream);
    const rev = station && at(event, station.rev_id);
    if (typeof rev !== "number") return null;
    const edit = editOf(rev);
    arrive(edit, stream, event, now);
    if (stream === demo.begins) {
      edit.at = Date.parse(event.dt);
      edit.title = event.page.page_title.replaceAll("_", " ");
      edit.isNew = (event.action || event.page_change_kind) === "create";
      edit.user = at(event, "performer.user_text");
      edit.comment = at(event, "revision.comment");
      byRequest.set(event.meta.request_id, edit);
      matchOutcomes();
      if (demo.live && !picked && (!shown || !missing(shown).length || Date.now() - shown.lastAt > 2 * QUIET_MS)) show(edit);
    }
    time(edit);
    return edit;
  }

  function matchOutcomes() {
    for (const [id, { event, now }] of outcomes) {
      const edit = byRequest.get(purges.get(id));
      if (!edit) continue;
      outcomes.delete(id);
      arrive(edit, demo.outcomes, event, now);
      time(edit);
    }
    return shown;
  }

  const since = new Date(opened - 3600000).toISOString();
  const names = [...stations.keys(), ...(demo.purges ? [demo.purges] : [])];
  const source = new EventSource(`${platform}/v2/stream/${names.join(",")}?since=${since}`);
  let waiting = false;
  source.onopen = () => setState("live", "live");
  source.onerror = () => setState("lost", "reconnecting");
  source.onmessage = (message) => {
    take(JSON.parse(message.data));
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      if (shown) show(shown);
      else listEdits();
    });
  };

  function setState(state, text) {
    byId("state").dataset.state = state;
    byId("state").textContent = text;
  }

  // ---- the stores: told by the demo, which looks into them -----------------------------------------------------------

  async function look() {
    const open = [...edits.values()].filter((edit) => edit.at && demo.stores.some((store) => !edit.arrivals.has(store.name)));
    if (open.length) {
      try {
        const stored = await (await fetch("/stored")).json();
        for (const edit of open) {
          for (const store of demo.stores) {
            const ms = (stored[store.name] || {})[edit.rev];
            if (ms !== undefined && !edit.arrivals.has(store.name)) {
              edit.arrivals.set(store.name, { event: null, now: 0, ms: edit.at >= opened ? ms : null });
              edit.lastAt = Date.now();
            }
          }
        }
      } catch {
        // The wiki has been stopped: the state of the connection says so.
      }
      if (shown) show(shown);
      else listEdits();
    } else if (shown && byId("total").textContent === "") {
      // Time alone tells that something is not to come.
      show(shown);
    }
    setTimeout(look, open.length ? LOOK_MS : 500);
  }

  // ---- editing -------------------------------------------------------------------------------------------------------

  const NEW = "\u0000new";

  function fillPages(titles, chosen) {
    const options = titles.map((title) => new Option(title, title, false, title === chosen));
    byId("page").replaceChildren(...options, new Option("A new page …", NEW));
    if (chosen) byId("page").value = chosen;
  }

  const isNew = () => byId("page").value === NEW;
  const title = () => (isNew() ? byId("title").value.trim() : byId("page").value);
  const pathOf = (name) => `/wiki/${encodeURIComponent(name.replaceAll(" ", "_"))}`;

  async function api(parameters, body) {
    const query = new URLSearchParams({ format: "json", formatversion: "2", ...parameters });
    const answer = await fetch(`/w/api.php?${query}`, body ? { method: "POST", body: new URLSearchParams(body) } : undefined);
    return answer.json();
  }

  async function load() {
    byId("new-title").hidden = !isNew();
    byId("suggest").disabled = isNew();
    byId("read").hidden = isNew();
    if (isNew()) {
      byId("text").value = "'''A new water''' is invented.\n\n== Course ==\nIt flows to [[Bramble Mere]].\n";
      return;
    }
    byId("read").href = pathOf(title());
    const found = await api({ action: "query", prop: "revisions", titles: title(), rvprop: "ids|content", rvslots: "main" });
    byId("text").value = found.query.pages[0].revisions[0].slots.main.content;
  }

  function say(text, outcome) {
    const answer = byId("answer");
    answer.hidden = false;
    answer.dataset.outcome = outcome;
    answer.textContent = text;
  }

  async function save(submitted) {
    submitted.preventDefault();
    if (!title()) return say("A new page needs a title.", "bad");
    byId("save").disabled = true;
    try {
      const form = { title: title(), text: byId("text").value, summary: byId("summary").value, user: byId("user").value, token: "+\\" };
      const found = await api({ action: "edit" }, form);
      if (found.error) return say(found.error.info, "bad");
      const made = found.edit;
      if (made.nochange) return say("The page has this text already: nothing was saved. Change something.", "bad");
      say(`Saved as revision ${made.newrevid} of ${made.title}.`, "good");
      const edit = editOf(made.newrevid);
      edit.at = made.saved_ms;
      edit.title = made.title;
      edit.isNew = Boolean(made.new);
      time(edit);
      picked = true;
      show(edit);
      byId("summary").value = "";
      if (window.matchMedia("(max-width: 900px)").matches) byId("journey").scrollIntoView({ block: "start" });
      if (made.new) {
        const again = await (await fetch("/demo")).json();
        fillPages(again.titles, made.title);
        await load();
      }
    } catch {
      say("The wiki does not answer. Is the demo still running?", "bad");
    } finally {
      byId("save").disabled = false;
    }
    return undefined;
  }

  async function suggest() {
    const found = await fetch(`/suggestion?title=${encodeURIComponent(title())}`);
    if (!found.ok) return;
    const made = await found.json();
    byId("text").value = made.text;
    byId("summary").value = made.summary;
    say("Something is changed in the text. Save it.", "good");
  }

  if (!demo.live) {
    fillPages(demo.titles, demo.titles[0]);
    byId("page").addEventListener("change", load);
    byId("form").addEventListener("submit", save);
    byId("suggest").addEventListener("click", suggest);
    await load();
  }
  look();
})();
