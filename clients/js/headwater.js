/**
 * Sends events from web pages to Headwater: sampled as the streams declare, in batches, also when a page is closed.
 *
 * How this works: `submit` decides immediately whether an event is sent, by the current settings of its stream, and adds
 * its text to a queue. One request at a time empties the queue; events that the intake refuses are reported and dropped,
 * events that it could not store are retried with the same `meta.id`, so that they are stored once. A page that is hidden
 * may never run again: queued events are then sent by `navigator.sendBeacon`, which browsers limit to 64 KB per page.
 * Events that no beacon accepts are sent by requests that may outlive the page; what remains of a closed page is kept in
 * storage if that is enabled, and otherwise reported as dropped. Settings come from the service by server-sent events,
 * with polling while those are unavailable. Types: headwater.d.ts.
 */

/** @typedef {import("./headwater.d.ts").Options} Options */
/** @typedef {import("./headwater.d.ts").Sample} Sample */
/** @typedef {import("./headwater.d.ts").Event} Event */
/** @typedef {{id?: string, stream: string, text: string, bytes: number}} Queued */

const AGAIN = new Set([408, 425, 429, 500, 502, 503, 504, 507]);
// Browsers let requests outlive their page if those in flight have at most 65536 bytes together.
const KEEPALIVE_BYTES_MAX = 60_000;
// How long a beacon may be in flight.
const BEACON_MS = 30_000;
const SESSION_MS = 30 * 60 * 1000;
const SETTINGS_AGE_MS_MAX = 24 * 60 * 60 * 1000;
const PREFIX = "headwater.";

// ---- Sampling: the rules of src/headwater/streams/sampling.py ----

/** The number in [0, 1] that the legacy rule compares with the rate. @param {string} id @returns {number} */
export function legacy32Value(id) {
  return parseInt(id.slice(0, 8), 16) / 0xffffffff;
}

/** The oldest rule: one in `population`; 0 means never. @param {string} id @param {number} population */
export function inSampleOneIn(id, population) {
  return population > 0 && parseInt(id.slice(0, 8), 16) % population === 0;
}

/**
 * FNV-1a over the three texts in UTF-8, separated by zero bytes, then the 64-bit finaliser of MurmurHash3.
 *
 * @param {string} salt @param {string} stream @param {string} id @returns {bigint}
 */
export function hash64(salt, stream, id) {
  let value = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode([salt, stream, id].join("\0"))) {
    value = BigInt.asUintN(64, (value ^ BigInt(byte)) * 0x100000001b3n);
  }
  value = BigInt.asUintN(64, (value ^ (value >> 33n)) * 0xff51afd7ed558ccdn);
  value = BigInt.asUintN(64, (value ^ (value >> 33n)) * 0xc4ceb9fe1a85ec53n);
  return value ^ (value >> 33n);
}

/**
 * Whether a unit is in the sample, and what is recorded as `meta.sample`.
 *
 * @param {string} stream @param {Sample | null | undefined} sample Absent: everything is included.
 * @param {(unit: string) => string | undefined} idOf A unit without an id is excluded.
 */
export function decide(stream, sample, idOf) {
  if (!sample) return { included: true, applied: null };
  const { unit, rate, algorithm = "legacy32" } = sample;
  const id = unit ? idOf(unit) : undefined;
  const known = algorithm === "legacy32" || (algorithm === "hash64" && typeof rate === "number");
  if (id === undefined || !known || !(rate >= 0 && rate <= 1)) return { included: false, applied: null };
  const included =
    algorithm === "hash64"
      ? hash64(sample.salt ?? "", stream, id) < BigInt(Math.floor(rate * 2 ** 64))
      : Boolean(rate) && legacy32Value(id) < rate;
  return { included, applied: { unit, rate: Number(rate), algorithm } };
}

// ---- Storage and ids ----

/** Storage that may be absent, full or forbidden: then a page has what it had before. */
const store = {
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(PREFIX + name));
    } catch {
      return null;
    }
  },
  put(name, value) {
    try {
      if (value === null) localStorage.removeItem(PREFIX + name);
      else localStorage.setItem(PREFIX + name, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  },
  names(start) {
    try {
      const all = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX + start));
      return all.map((key) => key.slice(PREFIX.length));
    } catch {
      return [];
    }
  },
};

function randomHex(digits) {
  const bytes = crypto.getRandomValues(new Uint8Array(digits / 2));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Version 4; crypto.randomUUID is missing on pages without TLS. */
function randomUuid() {
  const hex = randomHex(30);
  const variant = "89ab"[parseInt(hex[15], 16) & 3];
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(12, 15)}`, variant + hex.slice(15, 18), hex.slice(18)].join("-");
}

/** Page views, sessions and devices. No id is made before something is sampled by its unit, or asks for it. */
class Units {
  constructor(options, now) {
    this.given = options.ids ?? {};
    this.allowed = options.ids ? Object.keys(options.ids) : (options.units ?? ["pageview", "session", "device"]);
    this.now = now;
    this.made = {};
  }

  id(unit) {
    if (!this.allowed.includes(unit)) return undefined;
    if (this.given[unit] !== undefined) return this.given[unit];
    if (unit === "session") return this.session();
    if (unit === "device") this.made.device = store.get("device") ?? this.made.device;
    if (this.made[unit] === undefined) {
      this.made[unit] = randomHex(20);
      if (unit === "device") store.put("device", this.made.device);
    }
    return this.made[unit];
  }

  /** A session ends when its id has not been used for half an hour, in any tab. */
  session() {
    const kept = store.get("session") ?? this.made.session;
    const id = kept && this.now() - kept.used < SESSION_MS ? kept.id : randomHex(20);
    this.made.session = { id, used: this.now() };
    store.put("session", this.made.session);
    return id;
  }
}

// ---- Settings of streams ----

/** What the service says of streams, followed live. `streams`: undefined is not known yet, false everything goes. */
class Settings {
  constructor(options, base, changed) {
    this.options = options;
    this.now = options.now ?? Date.now;
    this.changed = changed;
    this.streams = options.settings ?? (options.streams === false ? false : undefined);
    this.followed = this.streams === undefined;
    this.upcoming = [];
    this.skewMs = 0;
    this.closed = false;
    this.failures = 0;
    this.query = "?audience=browser";
    if (options.streams) this.query += `&names=${options.streams.map(encodeURIComponent).join(",")}`;
    this.base = base;
    this.key = `settings.${base}${this.query}`;
    if (!this.followed) return;
    const kept = store.get(this.key);
    if (kept && this.now() - kept.at < SETTINGS_AGE_MS_MAX) ({ streams: this.streams, upcoming: this.upcoming } = kept);
    this.start();
  }

  /** A stream's settings at this moment; undefined where it has none. */
  of(name) {
    if (this.streams === false) return {};
    const now = this.now() + this.skewMs;
    while (this.upcoming.length && Date.parse(this.upcoming[0].at) <= now) this.patch(this.upcoming.shift());
    const streams = this.streams ?? {};
    if (Object.hasOwn(streams, name)) return streams[name];
    const family = Object.keys(streams).find((key) => isFamilyOf(key, name));
    return family && streams[family];
  }

  start() {
    if (!this.followed || this.closed) return;
    const live = this.options.live !== false && typeof EventSource !== "undefined";
    this.poll(live ? 2000 : 0);
    if (live) this.open();
  }

  open() {
    const source = new EventSource(`${this.base}/v1/stream-changes/live${this.query}`);
    const heard = (message, whole) => {
      this.up = this.heard = true;
      this.failures = 0;
      this.take(JSON.parse(message.data), whole);
    };
    this.source = source;
    this.heard = false;
    source.addEventListener("put", (message) => heard(message, true));
    source.addEventListener("patch", (message) => heard(message, false));
    // A proxy may open a connection and hold back its data: only one that has delivered data counts.
    source.onopen = () => (this.up = this.heard);
    source.onerror = () => {
      // Polling runs in parallel with the source, which reconnects by itself unless it was refused.
      this.up = false;
      this.poll(1000);
      if (source.readyState !== EventSource.CLOSED || this.source !== source) return;
      const wait = Math.min(60_000, 1000 * 2 ** this.failures++) * (0.5 + Math.random());
      this.reopening = setTimeout(() => this.open(), wait);
    };
  }

  stop() {
    this.source?.close();
    this.source = undefined;
    this.up = false;
    clearTimeout(this.polling);
    clearTimeout(this.reopening);
  }

  poll(wait) {
    clearTimeout(this.polling);
    if (!this.followed || this.closed) return;
    this.polling = setTimeout(async () => {
      if (this.up) return;
      await this.ask();
      if (!this.up) this.poll((this.options.pollSeconds ?? 30) * 1000 * (0.8 + 0.4 * Math.random()));
    }, wait);
  }

  /** Ask the service once. */
  async ask() {
    try {
      // The browser's cache keeps the ETag: naming it here would cost another request across origins.
      const response = await fetch(`${this.base}/v1/streams${this.query}`, { cache: "no-cache", credentials: "omit" });
      const news = response.ok && (await response.json());
      if (news && !this.up) this.take(news, true);
    } catch {
      // Keep the known settings.
    }
  }

  /** Resolves when there are settings, or the service has been asked for them in vain. */
  async known() {
    if (this.streams !== undefined || this.closed) return;
    const come = new Promise((resolve) => (this.onFirst = resolve));
    await Promise.race([come, this.ask()]);
  }

  take(news, whole) {
    if (this.closed) return;
    if (whole) this.streams = {};
    this.patch(news);
    this.upcoming = news.upcoming ?? [];
    if (news.at) this.skewMs = Date.parse(news.at) - this.now();
    store.put(this.key, { at: this.now(), streams: this.streams, upcoming: this.upcoming });
    this.options.onSettings?.(news.revision ?? null);
    this.changed();
    this.onFirst?.();
  }

  patch(news) {
    this.streams = { ...this.streams, ...news.streams };
    for (const name of news.removed ?? []) delete this.streams[name];
  }
}

function isFamilyOf(pattern, name) {
  try {
    return /^\/.+\/$/.test(pattern) && new RegExp(pattern.slice(1, -1)).test(name);
  } catch {
    // An expression of another engine.
    return false;
  }
}

// ---- The producer ----

/** Sends events to one intake. Make one for a page, with `createProducer`. */
export class Producer {
  /** @param {Options} options */
  constructor(options) {
    this.options = options;
    this.now = options.now ?? Date.now;
    this.base = options.url.replace(/\/+$/, "").replace(/\/v[12]\/events$/, "");
    this.limits = {
      lingerSeconds: 2, batchEventsMax: 50, batchBytesMax: 60_000, queueEventsMax: 1000, queueBytesMax: 1_000_000,
      backoffSecondsFirst: 1, backoffSecondsMax: 60, ...options,
    };
    this.units = new Units(options, this.now);
    /** @type {Queued[]} */
    this.queue = [];
    this.queueBytes = 0;
    /** @type {Queued[]} Those that wait for their answer. */
    this.sending = [];
    /** Events whose streams' settings are not known yet. */
    this.undecided = [];
    this.statistics = { queued: 0, sampledOut: 0, accepted: 0, refused: 0, dropped: 0, repeated: 0, beaconed: 0 };
    this.attempt = 0;
    this.notBefore = 0;
    this.leaving = false;
    this.beaconedAt = -Infinity;
    /** Whether there is no later in which this page could send. */
    this.isLast = false;
    this.keptKey = `queue.${randomHex(20)}`;
    /** @type {Queued[] | null} What lies in storage under that key. */
    this.kept = null;
    this.settings = new Settings(options, this.base, () => this.settle());
    this.listeners = {
      visibilitychange: () => (document.visibilityState === "hidden" ? this.leave(false) : this.back()),
      pagehide: (event) => this.leave(true, !event?.persisted),
      pageshow: () => this.back(),
      online: () => this.retryNow(),
    };
    // visibilitychange bubbles from the document to the window.
    for (const name in this.listeners) globalThis.addEventListener?.(name, this.listeners[name]);
    if (options.persist) this.adopt();
  }

  /**
   * Send an event to a stream, unless its settings say otherwise. `dt` becomes the time of this call; events that have
   * `client_dt` get none. Never throws.
   *
   * @param {string} stream @param {Event} event
   */
  submit(stream, event) {
    if (!event?.$schema) {
      const missing = 'called with eventData missing required field "$schema". No event will be produced.';
      this.warn(`submit( ${stream}, eventData ) ${missing}`);
    } else this.offer(stream, event, false);
  }

  /**
   * Send an interaction: with what the stream asks for of the context, and with how it is sampled.
   *
   * @param {string} stream @param {string} schema @param {string} action @param {Object} [data]
   */
  submitInteraction(stream, schema, action, data) {
    if (!action) {
      const missing = 'called without required field "action". No event will be produced.';
      this.warn(`submitInteraction( ${stream}, ..., action ) ${missing}`);
    } else this.offer(stream, { ...data, action, $schema: schema }, true);
  }

  /** Send an interaction whose action is "click". @param {string} stream @param {Object} [data] */
  submitClick(stream, data) {
    const schema = this.options.clickSchema ?? "/analytics/product_metrics/web/base/1.5.0";
    this.submitInteraction(stream, schema, "click", data);
  }

  /**
   * Send now what was submitted, also what waits for the settings of its stream. Resolves to whether all of it was
   * answered.
   *
   * @returns {Promise<boolean>}
   */
  async flush() {
    if (this.undecided.length) await this.settings.known();
    if (this.undecided.length) return false;
    while (this.queue.length || this.sending.length) {
      if (this.sending.length) await this.request;
      else if (!(await this.send())) return false;
    }
    return true;
  }

  /** Send what is queued as when the page ends, and end. */
  close() {
    this.leave(true, true);
    this.settings.closed = true;
    clearTimeout(this.timer);
    for (const name in this.listeners) globalThis.removeEventListener?.(name, this.listeners[name]);
  }

  offer(stream, given, isInteraction) {
    const at = this.now();
    let event;
    try {
      event = JSON.parse(JSON.stringify(given));
    } catch (error) {
      this.warn(`An event for the stream ${stream} is not JSON: ${error}`);
      return;
    }
    if (this.settings.streams !== undefined) this.judge({ at, stream, event, isInteraction });
    else {
      this.undecided.push({ at, stream, event, isInteraction });
      if (this.leaving) this.endUndecided();
      else if (this.undecided.length > this.limits.queueEventsMax) {
        this.drop({ ...this.undecided.shift(), reason: "the queue is full" });
      }
    }
  }

  /** Decide about an event by the settings there are. */
  judge({ at, stream, event, isInteraction }) {
    const settings = this.settings.of(stream);
    if (!settings) {
      if (!isInteraction) this.warn(`The stream ${stream} is not configured. No event will be sent`);
      return;
    }
    if (isInteraction) this.addContext(event, settings);
    const sampled = decide(stream, settings.sample, (unit) => this.units.id(unit));
    const target = clientOf(settings).stream_name ?? stream;
    const there = this.settings.of(target);
    if (settings.enabled === false || there?.enabled === false) {
      this.drop({ event, stream, reason: "the stream is disabled" });
    } else if (!sampled.included) {
      this.statistics.sampledOut++;
      this.warn(`The stream ${stream} is out of sample. No event will be sent`);
    } else if (there) this.put(at, target, event, sampled.applied);
  }

  addContext(event, settings) {
    for (const name of clientOf(settings).provide_values ?? []) {
      const group = name.split("_", 1)[0];
      const key = name.slice(group.length + 1);
      const unit = { performer_session_id: "session", performer_pageview_id: "pageview" }[name];
      const value = this.options.context?.[group]?.[key] ?? (unit && this.units.id(unit));
      if (value !== undefined && value !== null) event[group] = { ...event[group], [key]: value };
    }
    const family = /Mobi/.test(globalThis.navigator?.userAgent) ? "mobile_browser" : "desktop_browser";
    const platform = this.options.clientPlatform ?? "web";
    event.agent = { ...event.agent, client_platform: platform, client_platform_family: family };
    if (settings.sample) event.sample = settings.sample;
  }

  /** Complete an event and queue it. */
  put(at, stream, event, applied) {
    event.dt = new Date(at).toISOString();
    if (event.client_dt) delete event.dt;
    const domain = this.options.domain ?? globalThis.location?.hostname;
    event.meta = { ...event.meta, stream, domain };
    if (this.options.stamp !== false) {
      event.meta.id ??= randomUuid();
      if (applied) event.meta.sample = applied;
    }
    const text = JSON.stringify(event);
    this.statistics.queued++;
    this.enqueue([{ id: event.meta.id, stream, text, bytes: new TextEncoder().encode(text).length + 1 }]);
    const { batchEventsMax, batchBytesMax, lingerSeconds } = this.limits;
    const full = this.queue.length >= batchEventsMax || this.queueBytes >= batchBytesMax;
    if (this.leaving) this.handOver();
    else this.pump(full ? 0 : lingerSeconds);
  }

  enqueue(entries, front = false) {
    this.queue = front ? [...entries, ...this.queue] : [...this.queue, ...entries];
    this.queueBytes += sum(entries);
    const { queueEventsMax, queueBytesMax } = this.limits;
    while (this.queue.length > queueEventsMax || (this.queueBytes > queueBytesMax && this.queue.length > 1)) {
      const { stream, text, bytes } = this.queue.shift();
      this.queueBytes -= bytes;
      this.drop({ event: JSON.parse(text), stream, reason: "the queue is full" });
    }
  }

  /** Take a batch off the queue: one event at least. */
  batch() {
    let [count, bytes] = [0, 1];
    for (const entry of this.queue.slice(0, this.limits.batchEventsMax)) {
      bytes += entry.bytes;
      if (count && bytes > this.limits.batchBytesMax) break;
      count++;
    }
    const taken = this.queue.splice(0, count);
    this.queueBytes -= sum(taken);
    return taken;
  }

  /** Send in so many seconds at the latest, but not before the intake is to be asked again. */
  pump(seconds) {
    const due = Math.max(performance.now() + seconds * 1000, this.notBefore);
    if (this.timer && this.due <= due) return;
    clearTimeout(this.timer);
    this.due = due;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      if (!this.sending.length && !this.leaving) this.send();
    }, due - performance.now());
  }

  /** One request. Resolves to whether it was answered for good. */
  async send() {
    if (!this.queue.length) return true;
    this.sending = this.batch();
    this.request = this.deliver(this.sending);
    const batch = this.sending;
    const { again, pauseSeconds } = await this.request;
    this.sending = without(this.sending, batch);
    if (again.length) {
      this.enqueue(again, true);
      this.statistics.repeated++;
      const { backoffSecondsFirst, backoffSecondsMax } = this.limits;
      const jitter = Math.random() * Math.min(backoffSecondsMax, backoffSecondsFirst * 2 ** this.attempt++);
      const pause = pauseSeconds === null ? jitter : pauseSeconds + jitter / 10;
      this.notBefore = performance.now() + Math.min(pause, backoffSecondsMax) * 1000;
    } else this.attempt = 0;
    if (this.kept) this.keep();
    if (this.leaving) this.handOver();
    else if (this.queue.length) this.pump(again.length ? 0 : this.limits.lingerSeconds);
    return !again.length;
  }

  /**
   * Post, as a request that may outlive the page if the browser lets it: it refuses some while beacons are under way.
   *
   * @param {Queued[]} batch @returns {Promise<{again: Queued[], pauseSeconds: number | null}>}
   */
  async deliver(batch) {
    const isShort = sum(batch) <= KEEPALIVE_BYTES_MAX;
    const answered = await this.post(batch, isShort);
    const mayBeRefused = isShort && (this.leaving || performance.now() - this.beaconedAt < BEACON_MS);
    return mayBeRefused && answered.again.length ? this.post(answered.again, false) : answered;
  }

  async post(batch, keepalive) {
    let response, reported;
    try {
      // As text, like a beacon: JSON would cost another request across origins.
      const body = bodyOf(batch);
      response = await fetch(`${this.base}/v1/events`, { method: "POST", body, keepalive, credentials: "omit" });
      reported = [201, 202].includes(response.status) ? {} : await response.json().catch(() => null);
    } catch {
      return { again: batch, pauseSeconds: null };
    }
    const after = response.headers.get("retry-after");
    const pauseSeconds = after === null ? null : Math.max(0, Number(after)) || 1;
    const isOurs = pauseSeconds !== null || AGAIN.has(response.status);
    if (!response.ok && !reported?.invalid && !reported?.error) {
      if (isOurs) return { again: batch, pauseSeconds };
      for (const entry of batch) this.refuse(entry, reported?.detail ?? `${response.status} ${response.statusText}`);
      return { again: [], pauseSeconds };
    }
    const refused = new Map([...(isOurs ? [] : (reported?.error ?? [])), ...(reported?.invalid ?? [])].map(reasonOf));
    const failed = new Map((isOurs ? (reported?.error ?? []) : []).map(reasonOf));
    const again = batch.filter((entry) => failed.has(entry.id) && !refused.has(entry.id));
    for (const entry of batch) {
      if (refused.has(entry.id)) this.refuse(entry, refused.get(entry.id));
      else if (!failed.has(entry.id)) this.statistics.accepted++;
    }
    if (this.options.stamp === false) this.warn(`${refused.size} events were refused: ${[...refused.values()]}`);
    return { again, pauseSeconds };
  }

  // ---- Pages that come and go ----

  /** The page is hidden and may never run again. `isEnd`: later events are sent immediately. */
  leave(isEnd, isLast = false) {
    this.settings.stop();
    this.isLast = isLast;
    if (isEnd) {
      this.endUndecided();
      this.leaving = true;
    } else this.settings.poll(1000);
    this.handOver();
  }

  /** The page is visible again. */
  back() {
    if (this.kept && !store.get(this.keptKey)) {
      // Another page has taken over the events that this one had kept.
      this.queue = this.queue.filter((entry) => !this.kept?.includes(entry));
      this.queueBytes = sum(this.queue);
    }
    this.kept = null;
    store.put(this.keptKey, null);
    this.leaving = this.isLast = false;
    if (!this.settings.source) this.settings.start();
    if (this.queue.length) this.pump(0);
  }

  retryNow() {
    this.attempt = this.notBefore = 0;
    if (!this.settings.up) this.settings.poll(0);
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.queue.length) this.pump(0);
  }

  /** Pass queued events to the browser, which sends them even after the page is closed. */
  handOver() {
    // Offline, a browser accepts a beacon and loses it.
    const isOffline = globalThis.navigator?.onLine === false;
    while (!isOffline && this.queue.length) {
      const refused = this.beacon(this.batch());
      this.enqueue(refused, true);
      if (refused.length) break;
    }
    if (this.queue.length || this.leaving || this.kept) this.keep();
    if (!this.queue.length) return;
    if (isOffline) this.endQueue("the page was closed while offline");
    else if (this.leaving) this.sendRest();
    else this.pump(0);
  }

  /** Send a batch by beacons: complete, or in parts that fit. Returns the events that no beacon accepted. */
  beacon(batch) {
    let isTaken = false;
    try {
      isTaken = Boolean(navigator.sendBeacon(`${this.base}/v1/events`, bodyOf(batch)));
    } catch {
      // As if the browser has no room for it.
    }
    if (isTaken) {
      this.statistics.beaconed += batch.length;
      this.beaconedAt = performance.now();
    }
    if (isTaken || batch.length === 1) return isTaken ? [] : batch;
    const middle = batch.length >> 1;
    return [...this.beacon(batch.slice(0, middle)), ...this.beacon(batch.slice(middle))];
  }

  /** By requests, one after the other, for as long as the browser lets them and this page live. */
  async sendRest() {
    if (this.finishing) return;
    this.finishing = true;
    let isReached = true;
    while (isReached && this.leaving && this.queue.length) {
      const batch = this.batch();
      this.sending = [...this.sending, ...batch];
      const answered = this.deliver(batch);
      this.request = Promise.all([this.request, answered]);
      const { again } = await answered;
      this.sending = without(this.sending, batch);
      this.enqueue(again, true);
      isReached = !again.length;
      this.keep();
    }
    this.finishing = false;
    if (!this.leaving) this.pump(0);
    else if (!isReached) this.endQueue("the page was closed before it could be sent");
  }

  /** If there is no later chance, and no later page takes over: report queued events as dropped. */
  endQueue(reason) {
    if (!this.isLast || this.kept) return;
    this.queueBytes = 0;
    for (const { stream, text } of this.queue.splice(0)) this.drop({ event: JSON.parse(text), stream, reason });
  }

  /** Leave unanswered events to the next page of this origin. */
  keep() {
    if (!this.options.persist) return;
    const unanswered = [...this.sending, ...this.queue];
    const isKept = store.put(this.keptKey, unanswered.length ? unanswered : null);
    this.kept = isKept && unanswered.length ? unanswered : null;
  }

  /** Take over events that earlier pages could not send. */
  adopt() {
    for (const name of store.names("queue.")) {
      this.enqueue(store.get(name) ?? []);
      store.put(name, null);
    }
    if (this.queue.length) this.pump(0);
  }

  settle() {
    for (const one of this.undecided.splice(0)) this.judge(one);
  }

  /** Settings never arrived. */
  endUndecided() {
    for (const one of this.undecided.splice(0)) {
      if (this.options.unsettled === "drop") this.drop({ ...one, reason: "no settings arrived" });
      else {
        if (one.isInteraction) this.addContext(one.event, {});
        this.put(one.at, one.stream, one.event, null);
      }
    }
  }

  refuse({ stream, text }, reason) {
    this.statistics.refused++;
    this.tell("onRefused", { event: JSON.parse(text), stream, reason }, "refused");
  }

  drop({ event, stream, reason }) {
    this.statistics.dropped++;
    this.tell("onDropped", { event, stream, reason }, "dropped");
  }

  tell(callback, unsent, verb) {
    if (this.options[callback]) this.options[callback](unsent);
    else this.warn(`An event for the stream ${unsent.stream} was ${verb}: ${unsent.reason}`);
  }

  warn(text) {
    if (this.options.onWarning) this.options.onWarning(text);
    else console.warn(text);
  }
}

function clientOf(settings) {
  return settings.client ?? settings.producers?.metrics_platform_client ?? {};
}

/** [meta.id, reason] of an entry of a response's lists. @returns {[string, string]} */
function reasonOf(entry) {
  return [entry.event?.meta?.id, entry.context?.errorsText ?? entry.context?.message ?? "refused"];
}

function bodyOf(batch) {
  return `[${batch.map((entry) => entry.text).join(",")}]`;
}

/** @param {Queued[]} entries @param {Queued[]} others */
function without(entries, others) {
  return entries.filter((entry) => !others.includes(entry));
}

function sum(batch) {
  return batch.reduce((total, entry) => total + entry.bytes, 0);
}

/** A producer for this page. @param {Options} options */
export function createProducer(options) {
  return new Producer(options);
}
