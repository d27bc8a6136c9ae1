// The policies: what serves in each slot and how it fares, and how another release comes to serve.

import { call } from "./api.js";
import { ask } from "./ask.js";
import { bar } from "./chart.js";
import { ago, badge, count, decimal, el, facts, micros, moment, percent, release, Table, text } from "./dom.js";
import { upload } from "./upload.js";

const SLOTS = { "host-selection": "which host a session gets", "rate-limit": "how requests are limited", "npc-transform": "what peers see of NPCs" };
const STATES = { serving: ["serving", "good"], native: ["native default", "warn"], breaker_open: ["failing: native default", "bad"] };
const RUNGS = ["component", "candidate", "previous", "native", "static"];
const SHOWN = 50;

export class Policies {
  static title = "Policies";

  constructor(live, { say }) {
    Object.assign(this, { live, say, slot: "host-selection" });
    this.tabs = Object.entries(SLOTS).map(([slot, what]) => {
      const state = el("span", { class: "badge" }, "–");
      const link = el("a", { href: `#policies/${slot}`, class: "button" }, slot, " ", state);
      return { slot, state, link, what };
    });
    this.about = el("p", { class: "soft" });
    this.now = el("section", { class: "card", "aria-label": "What serves" });
    this.calls = el("section", { class: "card", "aria-label": "Calls" });
    this.rollout = el("section", { class: "card", id: "rollout" });
    this.nodes = new Table({
      caption: "Nodes",
      key: (node) => node.node,
      empty: "No node has said anything in the last minute.",
      columns: [
        { title: "Node", class: "mono", text: (node) => node.node },
        { title: "Serves", class: "mono", text: (node) => release(node.active) },
        { title: "Generation", number: true, text: (node) => count(node.generation) },
        { title: "Refused because", class: "wide", text: (node) => node.error ?? "–" },
        { title: "Seen", number: true, text: (node) => ago(node.seen_at, this.live.parts.overview?.at) },
      ],
    });
    this.releases = new Table({
      caption: "Releases, newest first",
      key: (record) => record.id,
      empty: "No release is stored.",
      chosen: (record) => record.id === this.desired()?.active,
      columns: [
        { title: "Release", class: "mono", text: (record) => release(record.id) },
        { title: "Note", class: "wide", text: (record) => record.note || "–" },
        { title: "By", text: (record) => record.created_by },
        { title: "Stored", text: (record) => moment(record.created_at) },
        { title: "Is", cell: (record) => this.standing(record.id), depends: (record) => this.word(record.id) },
        { title: "Have it", cell: (record) => this.steps(record), depends: (record) => [record.id, this.word(record.id)] },
      ],
    });
    this.audit = new Table({
      caption: "Audit, newest first",
      key: (entry) => entry.key,
      empty: "Nobody has decided anything yet.",
      columns: [
        { title: "When", text: (entry) => moment(entry.at) },
        { title: "Who", text: (entry) => entry.who },
        { title: "What", text: (entry) => entry.action },
        { title: "Release", class: "mono", text: (entry) => (entry.release_id ? release(entry.release_id) : "–") },
        { title: "Why", class: "wide", text: (entry) => entry.why || "–" },
      ],
    });
    this.back = el("button", { type: "button", class: "danger", onclick: () => this.rollBack() }, "Roll back");
    this.element = el("div", {},
      el("h1", {}, "Policies"),
      el("nav", { "aria-label": "Slots" }, this.tabs.map(({ link }) => link)),
      this.about,
      el("div", { class: "grid" }, this.now, this.calls),
      this.rollout,
      el("section", { class: "card" }, el("h2", {}, "Nodes"), this.nodes.element),
      el("section", { class: "card" }, el("h2", {}, "Releases"), this.releases.element, el("div", { class: "actions" }, this.back)),
      upload((body) => this.store(body)),
      el("section", { class: "card" }, el("h2", {}, "Audit"), this.audit.element));
  }

  /** The slot that the address names. */
  go([slot]) {
    if (slot in SLOTS) this.slot = slot;
    this.known = null;
    this.load();
  }

  report() {
    return this.live.parts.policies?.slots.find((slot) => slot.slot === this.slot);
  }

  desired() {
    return this.report()?.delivery?.desired;
  }

  update(part) {
    if (part && part !== "policies" && part !== "overview") return;
    const report = this.report();
    if (!report) return;
    for (const tab of this.tabs) {
      const of = this.live.parts.policies.slots.find((slot) => slot.slot === tab.slot);
      const [word, kind] = STATES[of.state];
      text(tab.state, of.delivery?.desired.rollout ? `${word}, ${of.delivery.desired.rollout.mode}` : word);
      tab.state.className = `badge ${kind}`;
      if (tab.slot === this.slot) tab.link.setAttribute("aria-current", "page");
      else tab.link.removeAttribute("aria-current");
    }
    text(this.about, `This slot decides ${SLOTS[this.slot]}.`);
    if (part !== "overview") {
      this.now.replaceChildren(el("h2", {}, "Serves"), ...serves(report));
      this.calls.replaceChildren(el("h2", {}, "Calls of this node"), ...calls(report));
      this.showRollout(report.delivery);
      this.back.disabled = !report.delivery?.desired.active;
    }
    this.nodes.update(report.delivery?.nodes ?? [], report.delivery?.convergence ?? "Storage is away: nothing is known of other nodes");
    // What others decided shows in the lists too.
    const version = JSON.stringify([this.slot, report.delivery?.desired.generation]);
    if (this.known !== version) {
      this.known = version;
      this.load();
    }
  }

  showRollout(delivery) {
    const rollout = delivery?.desired.rollout;
    this.rollout.hidden = !rollout;
    if (!rollout) {
      this.shown = null;
      return;
    }
    const id = `${this.slot} ${rollout.release_id} ${rollout.started_at}`;
    if (this.shown !== id) {
      this.shown = id;
      this.seen = el("div");
      const share = rollout.mode === "canary" ? `answers ${decimal(rollout.percent)} % of the calls` : `is shown ${decimal(rollout.sample_percent)} % of the calls; its answers are compared and never used`;
      this.rollout.replaceChildren(
        el("h2", {}, rollout.mode === "canary" ? "Canary" : "Shadow"),
        el("p", {}, el("code", {}, release(rollout.release_id)), ` ${share}, since ${moment(rollout.started_at)}.`),
        this.seen,
        el("div", { class: "actions" },
          el("button", { type: "button", class: "primary", onclick: () => this.decide("promote", "Promote", `Release ${release(rollout.release_id)} will serve every call, on every node.`) }, "Promote"),
          el("button", { type: "button", class: "danger", onclick: () => this.decide("halt", "Halt", "The candidate is asked no more; the active release goes on.") }, "Halt"),
          el("a", { class: "button", href: `#decisions/${this.slot}` }, "See decisions")));
    }
    this.seen.replaceChildren(...candidate(delivery));
  }

  word(id) {
    const desired = this.desired();
    if (desired?.active === id) return "active";
    if (desired?.rollout?.release_id === id) return desired.rollout.mode;
    return desired?.history.includes(id) ? "served before" : "";
  }

  standing(id) {
    const word = this.word(id);
    return word ? badge(word, word === "active" ? "good" : word === "served before" ? "" : "warn") : el("span", {}, "–");
  }

  steps(record) {
    const word = this.word(record.id);
    if (word === "active") return el("span", { class: "soft" }, "serves");
    const name = release(record.id);
    const button = (title, act) => el("button", { type: "button", class: "small", "aria-label": `${title} ${name}`, onclick: act }, title);
    const shadow = { release_id: record.id, mode: "shadow", sample_percent: 100 };
    return el("div", { class: "actions" },
      button("Shadow", () => this.decide("rollout", "Shadow", `Release ${name} will be asked what was answered already, and compared.`, shadow)),
      button("Canary", () => this.canary(record.id)),
      button("Activate", () => this.decide("activate", "Activate", `Release ${name} will serve every call, on every node, at once.`, { release_id: record.id })));
  }

  async canary(id) {
    const given = await ask({ title: "Canary", message: `Release ${release(id)} will answer a share of the calls.`, yes: "Start", number: { label: "Share of the calls in percent", value: 10, min: 1, max: 100 } });
    if (given) await this.act("rollout", { release_id: id, mode: "canary", percent: given.number, note: given.note });
  }

  async rollBack() {
    const desired = this.desired();
    const to = release(desired?.history.at(-1));
    await this.decide("rollback", "Roll back", `Release ${release(desired?.active)} makes way for ${to}, on every node. A rollout ends.`);
  }

  async decide(what, title, message, body = {}) {
    const given = await ask({ title, message, yes: title });
    if (given) await this.act(what, { ...body, note: given.note });
  }

  async act(what, body) {
    const slot = this.slot;
    try {
      const now = await call("POST", `/plugins/${slot}/${what}`, body);
      this.say(`${slot}: ${what} done, generation ${now.generation}`);
    } catch (problem) {
      this.say(`${slot}: ${what} refused: ${problem.message}`, "bad");
    }
    this.load();
  }

  async store(body) {
    const record = await call("POST", `/plugins/${this.slot}/releases`, body);
    this.say(`Stored as ${release(record.id)}`);
    this.load();
  }

  async load() {
    const slot = this.slot;
    try {
      const [records, entries] = await Promise.all([
        call("GET", `/plugins/${slot}/releases?limit=${SHOWN}`),
        call("GET", `/plugins/${slot}/audit?limit=${SHOWN}`),
      ]);
      if (slot !== this.slot) return;
      this.releases.update(records);
      this.audit.update(entries.map((entry, place) => ({ ...entry, key: `${entry.at} ${entry.action} ${entries.length - place}` })));
    } catch (problem) {
      this.say(`Releases of ${slot}: ${problem.message}`, "bad");
    }
  }
}

function serves({ policy, state, last_failure: failure, last_refusal: refusal, swaps, refusals }) {
  const [word, kind] = STATES[state];
  const about = policy
    ? facts([
        ["Policy", `${policy.name} ${policy.version}`],
        ["Summary", policy.summary],
        ["Source", policy.source],
        ["Release", el("code", {}, release(policy.release_id))],
        ["Contract", policy.wit_version],
        ["Since", moment(policy.loaded_at)],
        ["Swaps", count(swaps)],
      ])
    : el("p", {}, "No policy is in the slot.");
  const troubles = [
    failure && el("p", { class: "notice warn" }, `Last failure, ${moment(failure.at)}: ${failure.kind}: ${failure.detail}`),
    refusal && el("p", { class: "notice warn" }, `${count(refusals)} refused; the last one ${moment(refusal.at)} at ${refusal.step}: ${refusal.reason}. ${refusal.mend}`),
  ];
  return [el("p", {}, badge(word, kind)), about, ...troubles.filter(Boolean)];
}

function calls(report) {
  const shares = RUNGS.map((rung) => [rung, report.rungs[rung] ?? 0]);
  const failed = Object.entries(report.failures).filter(([, number]) => number > 0);
  const all = failed.reduce((sum, [, number]) => sum + number, 0);
  const said = shares.filter(([, number]) => number > 0).map(([rung, number]) => `${rung} ${percent(number, report.calls)}`);
  return [
    facts([
      ["Calls", count(report.calls)],
      ["Latency", `${micros(report.latency.p50_us)} at the median, ${micros(report.latency.p99_us)} at the 99th percentile`],
      ["Failures", failed.length ? `${count(all)}: ${failed.map(([kind, number]) => `${kind} ${count(number)}`).join(", ")}` : "none"],
      ["Answered by", said.join(", ") || "–"],
    ]),
    bar(shares, `Answered by: ${said.join(", ") || "nobody yet"}`),
  ];
}

function candidate({ rollout_seen: seen, desired }) {
  if (!seen) return [el("p", { class: "soft" }, "Nothing was seen of it yet.")];
  const { gates } = desired.rollout;
  const bound = (value, what) => (value === null ? "no bound" : `at most ${what}`);
  return [
    facts([
      ["Samples", `${count(seen.samples)}, judged from ${count(gates.min_samples)}`],
      ["Compared", desired.rollout.mode === "shadow" ? count(seen.compared) : null],
      ["Differences", desired.rollout.mode === "shadow" ? `${count(seen.differences)} (${percent(seen.differences, seen.compared)}; ${bound(gates.max_difference_rate, `${decimal(100 * gates.max_difference_rate)} %`)})` : null],
      ["Failures", `${count(seen.failures)} (${percent(seen.failures, seen.samples)}; ${bound(gates.max_failure_rate, `${decimal(100 * gates.max_failure_rate)} %`)})`],
      ["Dropped", count(seen.dropped)],
      ["99th percentile", `${micros(seen.p99_us)}; the active release ${micros(seen.active_p99_us)} (${bound(gates.max_p99_ratio, `${decimal(gates.max_p99_ratio)} times`)})`],
      ["Promoted", gates.promote_automatically ? "by itself when it keeps to its bounds" : "by hand"],
    ]),
    bar([["same", seen.compared - seen.differences], ["different", seen.differences]], `${count(seen.differences)} of ${count(seen.compared)} answers differ`),
  ];
}
