// Updates the page from one event feed: figures, chart, live events and tables. Event content is only ever set as text.
"use strict";

(() => {
  const ROWS_MAX = 150;
  const WAITING_MAX = 500;
  const byId = (id) => document.getElementById(id);
  const whole = new Intl.NumberFormat("en");
  const state = { paused: false, waiting: [], skipped: 0 };

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  const rateText = (rate) => (rate >= 100 ? whole.format(Math.round(rate)) : rate > 0 ? rate.toFixed(1) : "0");

  // ---- figures, streams and the chart -------------------------------------------------------------------------

  function showState(data) {
    byId("total-accepted").textContent = whole.format(data.totals.accepted);
    byId("total-refused").textContent = whole.format(data.totals.refused);
    const latest = data.rates.at(-1) || { accepted: 0, refused: 0 };
    byId("rate-accepted").textContent = rateText(latest.accepted);
    byId("rate-refused").textContent = rateText(latest.refused);
    drawChart(data.rates);
    const rows = new Map([...byId("streams").rows].map((row) => [row.dataset.stream, row]));
    for (const stream of data.streams) {
      const row = rows.get(stream.name);
      if (!row) continue;
      row.querySelector("[data-field=count]").textContent = whole.format(stream.count);
      row.querySelector("[data-field=rate]").textContent = rateText(stream.rate);
    }
    showJobs(data.jobs || []);
  }

  function showJobs(jobs) {
    const items = jobs.map((job) => {
      const item = make("li");
      item.append(make("b", "", job.name));
      if (job.place) item.append(" ", make("code", "", job.place));
      const counts = `(errors ${whole.format(job.errors)}, restarts ${whole.format(job.restarts)})`;
      item.append(`: ${job.trouble} `, make("span", "quiet", counts));
      return item;
    });
    // Change only what differs, so that screen readers do not announce the rest again.
    const shown = items.map((item) => item.textContent).join("\n");
    if (shown === state.shownJobs) return;
    state.shownJobs = shown;
    byId("jobs-list").replaceChildren(...items);
    byId("jobs").hidden = !items.length;
  }

  function drawChart(rates) {
    const chart = byId("chart");
    const points = 120, width = 600, floor = 118, height = 98;
    const peak = Math.max(1, ...rates.map((r) => Math.max(r.accepted, r.refused)));
    const x = (index) => (width * (index + points - rates.length)) / (points - 1);
    const y = (value) => floor - (height * value) / peak;
    const line = (name) => rates.map((r, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(r[name]).toFixed(1)}`).join("");
    const accepted = line("accepted");
    chart.querySelector(".line.accepted").setAttribute("d", accepted);
    chart.querySelector(".line.refused").setAttribute("d", line("refused"));
    chart.querySelector(".area.accepted").setAttribute(
      "d", rates.length ? `${accepted}L${width} ${floor}L${x(0).toFixed(1)} ${floor}Z` : "");
    byId("chart-max").textContent = `${rateText(peak)}/s`;
    const now = rates.at(-1) || { accepted: 0, refused: 0 };
    chart.setAttribute("aria-label",
      `Now ${rateText(now.accepted)} accepted and ${rateText(now.refused)} refused per second; the peak is ${rateText(peak)}`);
  }

  // ---- the tail ----------------------------------------------------------------------------------------------

  function tailRow(outcome) {
    const row = make("li", `${outcome.accepted ? "accepted" : "refused"} fresh`);
    const details = make("details");
    const summary = make("summary");
    const time = make("time", "", outcome.time.slice(11, 19));
    time.dateTime = outcome.time;
    summary.append(time, make("span", "verdict", outcome.accepted ? "accepted" : "refused"));
    const what = make("span", "what");
    what.append(make("b", "", outcome.stream || "no stream"));
    if (outcome.gist) what.append(" ", make("span", "", outcome.gist));
    summary.append(what);
    if (outcome.reason) summary.append(make("span", "reason", outcome.reason));
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (details.open && !details.querySelector("pre")) details.append(make("pre", "", pretty(outcome.event)));
    });
    row.append(details);
    return row;
  }

  function pretty(text) {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  }

  function showOutcomes(data) {
    state.skipped += data.skipped;
    state.waiting.push(...data.outcomes);
    if (state.waiting.length > WAITING_MAX) state.skipped += state.waiting.splice(0, state.waiting.length - WAITING_MAX).length;
    if (!state.paused) flushTail();
    else byId("pause").textContent = `Resume (${whole.format(state.waiting.length)})`;
  }

  function flushTail() {
    const tail = byId("tail");
    if (state.waiting.length) {
      byId("tail-empty").hidden = true;
      for (const old of tail.querySelectorAll(".fresh")) old.classList.remove("fresh");
      const rows = document.createDocumentFragment();
      for (const outcome of state.waiting.splice(0).reverse()) rows.append(tailRow(outcome));
      const reading = tail.scrollTop > 8;
      const before = tail.scrollHeight;
      tail.prepend(rows);
      if (reading) tail.scrollTop += tail.scrollHeight - before;
      while (tail.children.length > ROWS_MAX) tail.lastElementChild.remove();
    }
    const skipped = byId("tail-skipped");
    skipped.hidden = state.skipped === 0;
    skipped.textContent = `${whole.format(state.skipped)} more arrived too quickly to be shown.`;
  }

  byId("pause").addEventListener("click", (click) => {
    state.paused = !state.paused;
    click.currentTarget.setAttribute("aria-pressed", String(state.paused));
    click.currentTarget.textContent = state.paused ? "Resume" : "Pause";
    if (!state.paused) flushTail();
  });
  for (const radio of document.querySelectorAll("input[name=show]")) {
    radio.addEventListener("change", () => { byId("tail").dataset.show = radio.value; });
  }

  // ---- the jobs' tables -------------------------------------------------------------------------------------

  function showTables(tables) {
    const holder = byId("tables");
    for (const table of tables) {
      let card = [...holder.children].find((node) => node.dataset.table === table.name);
      if (!card) {
        card = tableCard(table);
        holder.append(card);
      }
      card.querySelector("[data-field=rows]").textContent = `${whole.format(table.rows_total)} rows`;
      card.querySelector("thead").replaceWith(tableHead(table));
      const body = make("tbody");
      for (const cells of table.rows) {
        const row = make("tr");
        for (const cell of cells) row.append(make("td", typeof cell === "number" ? "number" : "", cell === null ? "" : String(cell)));
        body.append(row);
      }
      card.querySelector("tbody").replaceWith(body);
    }
  }

  function tableHead(table) {
    const row = make("tr");
    table.columns.forEach((column, index) => {
      const isNumber = table.rows.length > 0 && typeof table.rows[0][index] === "number";
      const cell = make("th", isNumber ? "number" : "", column);
      cell.scope = "col";
      row.append(cell);
    });
    const head = make("thead");
    head.append(row);
    return head;
  }

  function tableCard(table) {
    const card = make("section", "card");
    card.dataset.table = table.name;
    card.setAttribute("aria-label", `Table ${table.name}`);
    const heading = make("h2", "", `${table.name} `);
    const rows = make("span", "quiet");
    rows.dataset.field = "rows";
    heading.append(rows);
    const scroll = make("div", "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `Rows of ${table.name}`);
    const grid = make("table", "grid-table");
    grid.append(make("thead"), make("tbody"));
    scroll.append(grid);
    card.append(heading, scroll);
    return card;
  }

  // ---- the form to post an event -----------------------------------------------------------------------------

  const examples = JSON.parse(byId("examples").textContent);

  function showExample(kind) {
    const example = examples[byId("example-stream").value];
    if (example) byId("event-text").value = JSON.stringify(example[kind], null, 2);
    byId("answer").hidden = true;
  }

  async function send(query) {
    const answer = byId("answer");
    try {
      JSON.parse(byId("event-text").value);
    } catch (error) {
      showAnswer("refused", "Not sent: this is not JSON", [error.message]);
      return;
    }
    byId("composer").setAttribute("aria-busy", "true");
    try {
      const response = await fetch(document.body.dataset.intake + query, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: byId("event-text").value,
      });
      const text = await response.text();
      const body = parsed(text);
      if (body.dry_run) {
        const good = body.events.every((event) => event.verdict === "accepted");
        showAnswer(good ? "accepted" : "refused", good ? "It would be accepted" : "It would be refused", verdicts(body.events));
      } else {
        showAnswer(response.status === 201 ? "accepted" : "refused", `${response.status} ${response.statusText}`, reasons(body));
      }
    } catch (error) {
      showAnswer("refused", "Not sent: the server does not answer", [error.message]);
    } finally {
      byId("composer").removeAttribute("aria-busy");
      answer.hidden = false;
    }
  }

  function parsed(text) {
    try {
      return text ? JSON.parse(text) : {};
    } catch {
      return { detail: text };
    }
  }

  const placed = (place, message) => `${place.replace(/^[./]/, "") || "The event"} ${message}`;

  function reasons(body) {
    const said = [];
    for (const { context = {} } of [...(body.invalid || []), ...(body.error || [])]) {
      if (context.errors) for (const error of context.errors) said.push(placed(error.dataPath || "", error.message));
      else said.push(context.message || "refused");
    }
    if (body.detail) said.push(body.detail);
    return said;
  }

  function verdicts(events) {
    return events.flatMap((event) => {
      if (event.verdict === "accepted") return [`would go to topic ${event.topic}`];
      if (event.violations) return event.violations.map((violation) => placed(violation.pointer, violation.message));
      return [event.reason];
    });
  }

  function showAnswer(outcome, heading, lines) {
    const answer = byId("answer");
    answer.dataset.outcome = outcome;
    answer.hidden = false;
    const parts = [make("strong", "", heading)];
    if (lines.length) {
      const list = make("ul");
      for (const line of lines) list.append(make("li", "", line));
      parts.push(list);
    }
    answer.replaceChildren(...parts);
  }

  byId("composer").addEventListener("submit", (submit) => { submit.preventDefault(); send(""); });
  byId("dry-run").addEventListener("click", () => send("?dry_run=true"));
  byId("valid-example").addEventListener("click", () => showExample("valid"));
  byId("invalid-example").addEventListener("click", () => showExample("invalid"));
  byId("example-stream").addEventListener("change", () => showExample("valid"));
  byId("event-text").addEventListener("keydown", (key) => {
    if (key.key === "Enter" && (key.ctrlKey || key.metaKey)) { key.preventDefault(); send(""); }
  });

  // ---- the feed ----------------------------------------------------------------------------------------------

  function connection(word, text) {
    const pill = byId("connection");
    if (pill.dataset.state === word) return;
    pill.dataset.state = word;
    pill.textContent = text;
  }

  const feed = new EventSource(document.body.dataset.feed);
  feed.addEventListener("open", () => connection("live", "live"));
  feed.addEventListener("error", () => connection("lost", "reconnecting"));
  feed.addEventListener("state", (message) => showState(JSON.parse(message.data)));
  feed.addEventListener("outcomes", (message) => showOutcomes(JSON.parse(message.data)));
  feed.addEventListener("tables", (message) => showTables(JSON.parse(message.data)));
  window.addEventListener("pagehide", () => feed.close());
})();
