// The live snapshot: one stream of server-sent events, and what it said in the last minutes.

import { session } from "./api.js";

const PARTS = ["overview", "hosts", "zones", "sessions", "policies"];
/** Readings that charts go back to, one a second. */
const KEPT = 300;
const LONGEST_PAUSE = 15000;

/** Tells `part` (with its name), `link` (with a state) and `over` (the session has ended). */
export class Live extends EventTarget {
  constructor() {
    super();
    this.parts = {};
    this.history = [];
    this.failures = 0;
  }

  start() {
    this.stop();
    this.source = new EventSource("/console/events");
    for (const name of PARTS) this.source.addEventListener(name, (event) => this.take(name, JSON.parse(event.data)));
    this.source.addEventListener("history", (event) => { this.history = JSON.parse(event.data); });
    // The node drains, or the session of this stream is over: then it may have been renewed, and another stream goes on.
    this.source.addEventListener("end", () => {
      this.source.close();
      this.again();
    });
    this.source.addEventListener("error", () => {
      // While the state is CONNECTING the browser tries again by itself.
      if (this.source?.readyState === EventSource.CLOSED) this.again();
      else this.tell("link", "reconnecting");
    });
  }

  stop() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = undefined;
  }

  take(name, value) {
    this.failures = 0;
    this.parts[name] = value;
    if (name === "overview") {
      const last = this.history.at(-1);
      // Another node, or a restart: its totals start anew.
      if (last && (last.node !== value.node || last.uptime_seconds > value.uptime_seconds)) this.history = [];
      if (this.history.at(-1)?.at !== value.at) this.history.push(value);
      if (this.history.length > KEPT) this.history.shift();
      this.tell("link", "live");
    }
    this.tell("part", name);
  }

  again() {
    this.tell("link", "reconnecting");
    const pause = Math.min(1000 * 2 ** this.failures++, LONGEST_PAUSE);
    this.timer = setTimeout(async () => {
      try {
        if (await session()) this.start();
        else this.tell("over");
      } catch {
        this.again();
      }
    }, pause);
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The mean of each entry and those before it: for what happens every few seconds. */
export function smooth(list, over) {
  return list.map((_, index) => {
    const part = list.slice(Math.max(0, index + 1 - over), index + 1);
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}

/** Per second, between each two readings: `pick(totals)` gives the total. */
export function rates(history, pick) {
  return history.slice(1).map((reading, index) => {
    const before = history[index];
    const seconds = (Date.parse(reading.at) - Date.parse(before.at)) / 1000;
    return seconds > 0 ? Math.max(0, (pick(reading.totals) - pick(before.totals)) / seconds) : 0;
  });
}
