/** Types of headwater.js, the producer for web pages. */

/** Which part of a stream's events is sent. */
export interface Sample {
  unit: "pageview" | "session" | "device" | string;
  /** From 0 to 1. */
  rate: number;
  /** Default "legacy32". */
  algorithm?: "legacy32" | "hash64";
  /** With hash64: streams with different salts select different units. */
  salt?: string;
}

export interface StreamSettings {
  /** False: nothing is sent. */
  enabled?: boolean;
  /** Absent: everything is sent. */
  sample?: Sample;
  /** `stream_name`: the stream to send to instead. `provide_values`: the fields of the context in interactions. */
  client?: { stream_name?: string; provide_values?: string[] };
  /** The same in legacy settings. */
  producers?: { metrics_platform_client?: { stream_name?: string; provide_values?: string[] } };
}

/** An event; `$schema` is required. */
export type Event = { $schema: string; meta?: Record<string, unknown> } & Record<string, unknown>;

/** An event that was not sent, or not accepted, and why. */
export interface Unsent {
  event: Event;
  stream: string;
  reason: string;
}

export interface Options {
  /** The server, such as "https://events.example.org". */
  url: string;
  /** The streams whose settings are followed; absent: all. False: settings are not requested, everything is sent. */
  streams?: false | string[];
  /** Fixed settings instead of the service's. */
  settings?: Record<string, StreamSettings> | false;
  /** False: settings are only polled. */
  live?: boolean;
  /** Default 30. */
  pollSeconds?: number;
  /** What to do with events if the page is closed before settings arrive; default "send". */
  unsettled?: "send" | "drop";
  /** Ids of units, such as {session: "…"}, instead of generated ones. Other units have none. */
  ids?: Record<string, string>;
  /** The units for which ids may be generated; default pageview, session and device. */
  units?: string[];
  /** Fields that interactions may contain: {page: {id: 7}, performer: {is_logged_in: false}}. */
  context?: Record<string, Record<string, unknown>>;
  /** `agent.client_platform` of interactions; default "web". */
  clientPlatform?: string;
  /** The schema of `submitClick`; default "/analytics/product_metrics/web/base/1.5.0". */
  clickSchema?: string;
  /** `meta.domain`; default the page's host. */
  domain?: string;
  /**
   * False: neither `meta.id` nor `meta.sample` is set, for events exactly as the Metrics Platform library sends them.
   * A retry after a lost response is then stored again, and refusals cannot be matched by id.
   */
  stamp?: boolean;
  /** How long an event may wait for others; default 2. */
  lingerSeconds?: number;
  /** Default 50. */
  batchEventsMax?: number;
  /** Default 60000; browsers accept no beacon above 65536. */
  batchBytesMax?: number;
  /** Above this, the oldest are dropped; default 1000. */
  queueEventsMax?: number;
  /** Default 1000000. */
  queueBytesMax?: number;
  /** Keep unsent events in localStorage when the page is closed, instead of dropping them; default false. */
  persist?: boolean;
  /** Default 1. */
  backoffSecondsFirst?: number;
  /** Default 60. */
  backoffSecondsMax?: number;
  onRefused?: (refused: Unsent) => void;
  onDropped?: (dropped: Unsent) => void;
  /** Default: console.warn. */
  onWarning?: (text: string) => void;
  /** Called whenever settings have arrived. */
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
  /** Retried requests. */
  repeated: number;
  /** Events passed to the browser in beacons, whose response cannot be read. */
  beaconed: number;
}

export declare class Producer {
  constructor(options: Options);
  readonly statistics: Statistics;
  submit(stream: string, event: Event): void;
  submitInteraction(stream: string, schema: string, action: string, data?: Record<string, unknown>): void;
  submitClick(stream: string, data?: Record<string, unknown>): void;
  /**
   * Send submitted events now, including those that wait for the settings of their stream. Resolves to whether all of
   * them were answered: false if settings did not arrive, or the intake could not be reached.
   */
  flush(): Promise<boolean>;
  /** Send queued events as when the page is closed: by beacons, or else by requests. What remains is kept (`persist`) or
   * reported to `onDropped`, possibly after this has returned. */
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
