/** Types of headwater.js, the producer for web pages. */

/** Which part of a stream's events is sent. */
export interface Sample {
  unit: "pageview" | "session" | "device" | string;
  /** From 0 to 1. */
  rate: number;
  /** Default "legacy32". */
  algorithm?: "legacy32" | "hash64";
  /** With hash64: streams with other salts draw other units. */
  salt?: string;
}

export interface StreamSettings {
  /** False: nothing is sent. */
  enabled?: boolean;
  /** Absent: everything is sent. */
  sample?: Sample;
  /** `stream_name`: where its events go instead. `provide_values`: what interactions carry of the context. */
  client?: { stream_name?: string; provide_values?: string[] };
  /** Where legacy settings have `client`. */
  producers?: { metrics_platform_client?: { stream_name?: string; provide_values?: string[] } };
}

/** An event; `$schema` is needed. */
export type Event = { $schema: string; meta?: Record<string, unknown> } & Record<string, unknown>;

/** An event that was not sent, or not taken, and why. */
export interface Unsent {
  event: Event;
  stream: string;
  reason: string;
}

export interface Options {
  /** The server, such as "https://events.example.org". */
  url: string;
  /** The streams whose settings are followed; absent: all. False: no settings are asked for, everything is sent. */
  streams?: false | string[];
  /** Fixed settings instead of the service's. */
  settings?: Record<string, StreamSettings> | false;
  /** False: settings are polled only. */
  live?: boolean;
  /** Default 30. */
  pollSeconds?: number;
  /** What becomes of events when the page ends before settings came; default "send". */
  unsettled?: "send" | "drop";
  /** Ids of units, such as {session: "…"}, instead of those made and kept here. Units not named have none. */
  ids?: Record<string, string>;
  /** The units an id may be made for; default pageview, session and device. */
  units?: string[];
  /** What interactions may carry: {page: {id: 7}, performer: {is_logged_in: false}}. */
  context?: Record<string, Record<string, unknown>>;
  /** `agent.client_platform` of interactions; default "web". */
  clientPlatform?: string;
  /** The schema of `submitClick`; default "/analytics/product_metrics/web/base/1.5.0". */
  clickSchema?: string;
  /** `meta.domain`; default the page's host. */
  domain?: string;
  /**
   * False: neither `meta.id` nor `meta.sample` is set, for events just as the Metrics Platform library sends them.
   * What is sent again after a lost answer is then stored again, and refusals cannot be told apart by id.
   */
  stamp?: boolean;
  /** How long an event may wait for others; default 2. */
  lingerSeconds?: number;
  /** Default 50. */
  batchEventsMax?: number;
  /** Default 60000; browsers take no beacon above 65536. */
  batchBytesMax?: number;
  /** Where there are more, the oldest are dropped; default 1000. */
  queueEventsMax?: number;
  /** Default 1000000. */
  queueBytesMax?: number;
  /** Keep what cannot be sent in localStorage when the page ends, instead of dropping it; default false. */
  persist?: boolean;
  /** Default 1. */
  backoffSecondsFirst?: number;
  /** Default 60. */
  backoffSecondsMax?: number;
  onRefused?: (refused: Unsent) => void;
  onDropped?: (dropped: Unsent) => void;
  /** Default: console.warn. */
  onWarning?: (text: string) => void;
  /** Called whenever settings have come. */
  onSettings?: (revision: number | null) => void;
  /** Epoch milliseconds; default Date.now. */
  now?: () => number;
}

export interface Statistics {
  queued: number;
  sampledOut: number;
  accepted: number;
  refused: number;
  dropped: number;
  /** Requests sent again. */
  repeated: number;
  /** Events handed to the browser by beacons, whose answer nobody reads. */
  beaconed: number;
}

export declare class Producer {
  constructor(options: Options);
  readonly statistics: Statistics;
  submit(stream: string, event: Event): void;
  submitInteraction(stream: string, schema: string, action: string, data?: Record<string, unknown>): void;
  submitClick(stream: string, data?: Record<string, unknown>): void;
  /**
   * Send now what was submitted, also what waits for the settings of its stream. Resolves to whether all of it was
   * answered: false where settings did not come, or the intake could not be reached.
   */
  flush(): Promise<boolean>;
  /** Send what is queued as when the page ends: by beacons, what those do not take by requests. What remains is kept
   * (`persist`) or reported to `onDropped`, which may be after this has returned. */
  close(): void;
}

export declare function createProducer(options: Options): Producer;
export declare function decide(
  stream: string,
  sample: Sample | null | undefined,
  idOf: (unit: string) => string | undefined,
): { included: boolean; applied: Pick<Sample, "unit" | "rate" | "algorithm"> | null };
export declare function legacy32Value(id: string): number;
export declare function inSampleOneIn(id: string, population: number): boolean;
export declare function hash64(salt: string, stream: string, id: string): bigint;
