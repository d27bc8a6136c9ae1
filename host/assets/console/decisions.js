// Why a policy answered as it did: the decisions that the service keeps, and what each of them looked at.

import { call } from "./api.js";
import { badge, decimal, el, facts, micros, moment, Table, text } from "./dom.js";

const SLOTS = ["host-selection", "rate-limit", "npc-transform"];
const SHOWN = 200;
const RUNGS = { component: "good", candidate: "warn", previous: "warn", native: "warn", static: "bad" };
/** Longest answer in the list. */
const LONGEST = 140;

export class Decisions {
  static title = "Decisions";

  constructor() {
    this.slot = SLOTS[0];
    this.session = "";
    this.entries = [];
    this.choice = el("select", { id: "decision-slot", onchange: () => { location.hash = `decisions/${this.choice.value}`; } }, SLOTS.map((slot) => el("option", { value: slot }, slot)));
    this.search = el("input", { id: "decision-search", type: "search", autocomplete: "off", oninput: () => this.show() });
    this.kind = el("select", { id: "decision-kind", onchange: () => this.show() }, el("option", { value: "" }, "all"), el("option", { value: "rank" }, "choices of a host"), el("option", { value: "score" }, "scores"));
    this.kindLine = el("div", {}, el("label", { for: "decision-kind" }, "Show"), this.kind);
    this.notice = el("p", { class: "notice", role: "status", hidden: true });
    this.table = new Table({
      caption: "Decisions, newest first",
      key: (entry) => entry.id,
      empty: "No decision matches.",
      chosen: (entry) => entry.id === this.chosen,
      columns: [
        { title: "When", text: (entry) => moment(entry.at) },
        { title: "About", class: "wide", text: (entry) => about(entry) },
        { title: "Answer", class: "wide", text: (entry) => answer(entry) },
        { title: "Release", class: "mono", text: (entry) => entry.release ?? "–" },
        { title: "By", cell: (entry) => badge(entry.rung, RUNGS[entry.rung]), depends: (entry) => entry.rung },
        { title: "Took", number: true, text: (entry) => micros(entry.duration_us) },
        { title: "Details", cell: (entry) => el("button", { type: "button", class: "small", "aria-label": `Why: ${about(entry)}`, onclick: () => this.open(entry.id) }, "Why?"), depends: (entry) => entry.id },
      ],
    });
    this.detail = el("section", { class: "card", id: "decision", tabindex: "-1", hidden: true });
    this.element = el("div", {},
      el("h1", {}, "Decisions"),
      el("p", { class: "soft" }, "What a policy was asked, what it answered, and why: the latest of the node that this page comes from."),
      el("div", { class: "filters" },
        el("div", {}, el("label", { for: "decision-slot" }, "Slot"), this.choice),
        el("div", {}, el("label", { for: "decision-search" }, "Session, zone, host or text"), this.search),
        this.kindLine,
        el("div", {}, el("button", { type: "button", onclick: () => this.load() }, "Load anew"))),
      this.notice,
      this.detail,
      el("section", { class: "card" }, this.table.element));
  }

  /** The slot, and with a session its decisions alone, the latest opened. */
  go([slot, session]) {
    if (SLOTS.includes(slot)) this.slot = slot;
    this.session = session ?? "";
    this.choice.value = this.slot;
    this.kindLine.hidden = this.slot !== "host-selection";
    this.search.value = "";
    this.detail.hidden = true;
    this.chosen = null;
    this.load();
  }

  update() {}

  async load() {
    const of = this.session ? `&session_id=${encodeURIComponent(this.session)}` : "";
    try {
      this.entries = await call("GET", `/decisions?slot=${this.slot}&limit=${SHOWN}${of}`);
      const none = this.entries.length ? "" : ". This node has none: another one made them, or they are too old";
      this.tell(this.session ? `Decisions about ${this.session}${none}` : "");
    } catch (problem) {
      this.entries = [];
      this.tell(problem.status === 404 ? "This service keeps no decisions." : problem.message);
    }
    const shown = this.show();
    if (this.session && shown.length) this.open(shown[0].id);
  }

  tell(message) {
    text(this.notice, message);
    this.notice.hidden = !message;
  }

  show() {
    const wanted = this.search.value.trim().toLowerCase();
    const kind = this.kindLine.hidden ? "" : this.kind.value;
    const fits = (entry) => (!kind || kind in (entry.question ?? {})) && JSON.stringify(entry).toLowerCase().includes(wanted);
    const shown = this.entries.filter(fits);
    this.table.update(shown);
    return shown;
  }

  async open(id) {
    try {
      const decision = await call("GET", `/decisions/${encodeURIComponent(id)}`);
      this.chosen = id;
      this.show();
      this.detail.replaceChildren(...describe(decision));
      this.detail.hidden = false;
      this.detail.focus({ preventScroll: true });
      this.detail.scrollIntoView({ block: "nearest" });
    } catch (problem) {
      this.tell(problem.message);
    }
  }
}

function about({ id, session_id: session, question = {} }) {
  if (session) return session;
  if (question.rank) return `a host for zone ${question.rank.zone_id}`;
  if (question.score) return question.score.host_id ? `the score of ${question.score.host_id}` : "a score";
  const { route, surface, zone_id: zone } = question;
  return [route ?? surface, zone && `zone ${zone}`].filter(Boolean).join(" ") || id;
}

function answer({ answer: given }) {
  if (given?.rank) return given.rank.map((pick) => `${pick.host_id} (${decimal(pick.score)}: ${pick.reason})`).slice(0, 3).join(", then ") || "nobody: the game server";
  if (typeof given?.score === "number") return decimal(given.score);
  const said = typeof given === "string" ? given : JSON.stringify(given) ?? "–";
  return said.length > LONGEST ? `${said.slice(0, LONGEST)}…` : said;
}

function describe(decision) {
  const { candidates, question = {} } = decision;
  const parts = [
    el("h2", {}, `Why: ${about(decision)}`),
    facts([
      ["When", moment(decision.at)],
      ["Answer", answer(decision)],
      ["Answered by", decision.reason ? `${decision.rung}, because a release further up did not: ${decision.reason}` : decision.rung],
      ["Release", decision.release && el("code", {}, decision.release)],
      ["Took", micros(decision.duration_us)],
      ["Request", decision.request_id && el("code", {}, decision.request_id)],
      ["The zone asks for", question.rank && `a score of ${decimal(question.rank.min_quality_score)}, ${decimal(question.rank.min_bandwidth_mbps)} Mbps, at most ${decimal(question.rank.max_latency_ms)} ms`],
    ]),
  ];
  if (candidates) parts.push(...hosts(candidates));
  parts.push(el("details", {}, el("summary", {}, "The whole record"), el("pre", { tabindex: "0" }, JSON.stringify(decision, null, 2))));
  return parts;
}

function hosts(candidates) {
  const table = new Table({
    caption: "Candidates, picks first",
    key: (host) => host.host_id,
    empty: "There was no candidate.",
    chosen: (host) => host.pick === 1,
    columns: [
      { title: "Pick", text: (host) => (host.pick ? `${host.pick}.` : "–") },
      { title: "Host", text: (host) => host.host_id },
      { title: "Score", number: true, text: (host) => decimal(host.score ?? NaN) },
      { title: "Reason", class: "wide", text: (host) => host.reason ?? (host.misses?.length ? `misses ${host.misses.join(", ")}` : "not picked") },
      { title: "Quality", number: true, text: (host) => decimal(host.quality_score) },
      { title: "Latency", number: true, text: (host) => `${decimal(host.latency_ms)} ms` },
      { title: "Free", number: true, text: (host) => `${decimal(host.free_mbps)} Mbps` },
      { title: "Free places", number: true, text: (host) => decimal(host.free_players) },
      { title: "Sessions", number: true, text: (host) => decimal(host.sessions) },
      { title: "Region", text: (host) => host.region ?? "–" },
    ],
  });
  table.update(candidates);
  return [el("h3", {}, "Candidates"), table.element];
}
