// Why a policy answered as it did: the decisions that the service keeps, and what each of them looked at.

import { call } from "./api.js";
import { badge, decimal, el, facts, micros, moment, release, Table, text } from "./dom.js";

const SLOTS = ["host-selection", "rate-limit", "npc-transform"];
const SHOWN = 100;

export class Decisions {
  static title = "Decisions";

  constructor() {
    this.slot = SLOTS[0];
    this.choice = el("select", { id: "decision-slot", onchange: () => { location.hash = `decisions/${this.choice.value}`; } }, SLOTS.map((slot) => el("option", { value: slot }, slot)));
    this.search = el("input", { id: "decision-search", type: "search", autocomplete: "off", oninput: () => this.show() });
    this.differing = el("select", { id: "decision-differing", onchange: () => this.show() }, el("option", { value: "" }, "all"), el("option", { value: "yes" }, "where a candidate differs"));
    this.notice = el("p", { class: "notice", hidden: true });
    this.entries = [];
    this.table = new Table({
      caption: "Decisions, newest first",
      key: (entry) => entry.id,
      empty: "No decision matches.",
      chosen: (entry) => entry.id === this.chosen,
      columns: [
        { title: "When", text: (entry) => moment(entry.at) },
        { title: "About", class: "wide", text: (entry) => about(entry) },
        { title: "Answer", class: "wide", text: (entry) => summary(entry) },
        { title: "Release", class: "mono", text: (entry) => releaseOf(entry) },
        { title: "By", cell: (entry) => badge(entry.rung ?? "–", kind(entry.rung)), depends: (entry) => entry.rung },
        { title: "Details", cell: (entry) => el("button", { type: "button", class: "small", "aria-label": `Why: ${about(entry)}`, onclick: () => this.open(entry.id) }, "Why?"), depends: (entry) => entry.id },
      ],
    });
    this.detail = el("section", { class: "card", id: "decision", tabindex: "-1", hidden: true });
    this.element = el("div", {},
      el("h1", {}, "Decisions"),
      el("p", { class: "soft" }, "What a policy was asked, what it answered, and why."),
      el("div", { class: "filters" },
        el("div", {}, el("label", { for: "decision-slot" }, "Slot"), this.choice),
        el("div", {}, el("label", { for: "decision-search" }, "Session, zone, host or text"), this.search),
        el("div", {}, el("label", { for: "decision-differing" }, "Show"), this.differing),
        el("div", {}, el("button", { type: "button", onclick: () => this.load() }, "Load anew"))),
      this.notice,
      el("section", { class: "card" }, this.table.element),
      this.detail);
  }

  go([slot, wanted]) {
    if (SLOTS.includes(slot)) this.slot = slot;
    this.choice.value = this.slot;
    this.search.value = wanted ?? "";
    this.detail.hidden = true;
    this.load(Boolean(wanted));
  }

  update() {}

  async load(openFirst = false) {
    try {
      const answer = await call("GET", `/decisions?slot=${this.slot}&limit=${SHOWN}`);
      this.entries = Array.isArray(answer) ? answer : answer.decisions ?? [];
      this.tell("");
    } catch (problem) {
      this.entries = [];
      this.tell(problem.status === 404 ? "This service keeps no decisions." : problem.message);
    }
    const shown = this.show();
    if (openFirst && shown.length) this.open(shown[0].id);
  }

  tell(message) {
    text(this.notice, message);
    this.notice.hidden = !message;
  }

  show() {
    const wanted = this.search.value.trim().toLowerCase();
    const fits = (entry) => JSON.stringify(entry).toLowerCase().includes(wanted);
    const shown = this.entries.filter((entry) => fits(entry) && (!this.differing.value || entry.differs || entry.shadow?.differs));
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
      this.detail.focus();
      this.detail.scrollIntoView({ block: "nearest" });
    } catch (problem) {
      this.tell(problem.message);
    }
  }
}

const kind = (rung) => ({ component: "good", candidate: "warn", native: "warn", static: "bad" })[rung] ?? "";
const releaseOf = (entry) => release(entry.release_id ?? entry.release);

function about(entry) {
  const parts = [entry.session_id && `session ${entry.session_id}`, entry.zone_id && `zone ${entry.zone_id}`, entry.subject];
  return parts.filter(Boolean).join(", ") || entry.id;
}

function summary(entry) {
  const answer = entry.summary ?? entry.outcome ?? entry.answer;
  if (answer === undefined || answer === null) return "–";
  return typeof answer === "string" ? answer : JSON.stringify(answer).slice(0, 160);
}

function describe(decision) {
  const parts = [
    el("h2", {}, `Why: ${about(decision)}`),
    facts([
      ["When", moment(decision.at)],
      ["Answered by", decision.rung],
      ["Release", releaseOf(decision)],
      ["Took", decision.took_us === undefined ? null : micros(decision.took_us)],
      ["Failure", decision.failure && (decision.failure.detail ?? String(decision.failure))],
    ]),
  ];
  for (const [title, list] of Object.entries(decision)) {
    if (Array.isArray(list) && list.length && list.every((entry) => entry && typeof entry === "object")) parts.push(...tabled(title, list));
  }
  parts.push(el("details", {}, el("summary", {}, "The whole record"), el("pre", { tabindex: "0" }, JSON.stringify(decision, null, 2))));
  return parts;
}

/** A list of objects as a table of their simple members. */
function tabled(title, list) {
  const names = [...new Set(list.flatMap((entry) => Object.keys(entry)))].filter((name) => list.some((entry) => simple(entry[name])));
  const table = new Table({
    caption: title,
    key: (entry) => list.indexOf(entry),
    columns: names.map((name) => ({ title: name.replaceAll("_", " "), text: (entry) => shown(entry[name]) })),
  });
  table.update(list);
  return [el("h3", {}, title.replaceAll("_", " ")), table.element];
}

const simple = (value) => ["string", "number", "boolean"].includes(typeof value);
const shown = (value) => (typeof value === "number" ? decimal(value) : simple(value) ? String(value) : "–");
