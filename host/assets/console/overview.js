// What happens now: numbers, and charts of the last minutes.

import { Chart } from "./chart.js";
import { count, decimal, el, span, Table, text, badge } from "./dom.js";
import { rates, smooth } from "./live.js";

const SLOTS = 300;
/** Ticks come every few seconds: their rates are means over so many. */
const TICKS = 10;
const PEERS = ["offer", "answer", "ice-candidate", "join"];

export class Overview {
  static title = "Overview";

  constructor(live) {
    this.live = live;
    this.tiles = {};
    const tile = (name, title) => {
      const [value, more] = [el("dd", {}, "–"), el("dd", {}, "")];
      this.tiles[name] = { value, more };
      return el("dl", { class: "tile" }, el("dt", {}, title), value, more);
    };
    this.missing = el("p", { class: "notice warn", hidden: true });
    this.charts = {
      signaling: new Chart({ title: "Signaling messages", unit: "per s", series: PEERS, slots: SLOTS }),
      limits: new Chart({ title: "Rate limit", unit: "per s", series: ["passed", "limited", "denied"], slots: SLOTS }),
      requests: new Chart({ title: "HTTP requests", unit: "per s", series: ["2xx", "4xx", "5xx"], slots: SLOTS }),
      npcs: new Chart({ title: "NPC ticks", unit: "per s", series: ["fetched", "failed", "sent to peers"], slots: SLOTS }),
      sessions: new Chart({ title: "Players and sessions", unit: "", series: ["players", "active sessions", "connections"], slots: SLOTS }),
      hosts: new Chart({ title: "Hosts", unit: "", series: ["online", "not online"], slots: SLOTS }),
    };
    this.zones = new Table({
      caption: "Zones",
      key: (zone) => zone.zone_id,
      empty: "No zone is defined yet.",
      columns: [
        { title: "Zone", text: (zone) => zone.zone_id },
        { title: "Name", text: (zone) => zone.zone_display_name },
        { title: "Status", cell: (zone) => badge(zone.status, zone.status === "enabled" ? "good" : "warn"), depends: (zone) => zone.status },
        { title: "Peer-to-peer", cell: (zone) => badge(zone.p2p_enabled ? "on" : "off", zone.p2p_enabled ? "good" : ""), depends: (zone) => zone.p2p_enabled },
        { title: "Live sessions", number: true, text: (zone) => count(zone.active_sessions) },
        { title: "Sessions so far", number: true, text: (zone) => count(zone.total_sessions) },
        { title: "Players served", number: true, text: (zone) => count(zone.total_players_served) },
      ],
    });
    this.node = el("p", { class: "soft" });
    this.element = el("div", {},
      el("h1", {}, "Overview"),
      this.missing,
      el("div", { class: "tiles" },
        tile("hosts", "Hosts online"), tile("sessions", "Active sessions"), tile("players", "Players"),
        tile("connections", "Connections"), tile("signaling", "Signaling"), tile("refused", "Refused by limits"),
        tile("npcs", "NPC states"), tile("stores", "Stores")),
      el("div", { class: "grid" }, Object.values(this.charts).map((chart) => chart.element)),
      this.node,
      el("section", { class: "card" }, el("h2", {}, "Zones"), this.zones.element));
  }

  tile(name, value, more = "") {
    text(this.tiles[name].value, value);
    text(this.tiles[name].more, more);
  }

  update(part) {
    const { overview, zones } = this.live.parts;
    if (zones && part !== "overview") this.zones.update(zones.entries, `${count(zones.total)} zones, highest priority first`);
    if (!overview || part === "zones") return;
    const { dashboard: sums, signaling, totals } = overview;
    this.missing.hidden = overview.missing.length === 0;
    text(this.missing, `Not readable now, so what is shown may be old: ${overview.missing.join(", ")}`);
    const history = this.live.history;
    const rate = (pick) => rates(history, pick);
    const ticks = (pick) => smooth(rate(pick), TICKS);
    const last = (list) => list.at(-1) ?? 0;
    const messages = (of) => Object.values(of.messages).reduce((sum, value) => sum + value, 0);
    const refusals = (of) => (of.limits.limited ?? 0) + (of.limits.denied ?? 0);
    this.tile("hosts", count(sums?.hosts.online), sums ? `of ${count(sums.hosts.total)}, mean score ${decimal(sums.hosts.average_quality_score)}` : "");
    this.tile("sessions", count(sums?.sessions.active), sums ? `${count(sums.sessions.total)} in all` : "");
    this.tile("players", count(sums?.sessions.total_players), sums ? `mean latency ${decimal(sums.sessions.average_latency_ms)} ms` : "");
    this.tile("connections", count(signaling?.connections), signaling ? `sessions with peers: ${count(signaling.sessions)}` : "");
    this.tile("signaling", `${decimal(last(rate(messages)))}/s`, `${count(totals.messages_refused)} refused so far`);
    this.tile("refused", `${decimal(last(rate(refusals)))}/s`, `${count(refusals(totals))} so far`);
    this.tile("npcs", overview.npcs ? `${decimal(last(ticks((of) => of.npc_pushes)))}/s` : "off", overview.npcs ? `${count(totals.npc_fetches.failed ?? 0)} fetches failed` : "no AI service");
    const good = sums && sums.system.postgres === "healthy" && sums.system.redis === "healthy";
    this.tile("stores", sums ? (good ? "well" : "unwell") : "–", sums ? `${sums.system.storage}, ${sums.system.live}` : "");
    this.charts.signaling.update(PEERS.map((type) => rate((of) => of.messages[type] ?? 0)));
    this.charts.limits.update([
      rate((of) => (of.limits.allowed ?? 0) + (of.limits.unlimited ?? 0)),
      rate((of) => of.limits.limited ?? 0),
      rate((of) => of.limits.denied ?? 0),
    ]);
    this.charts.requests.update(["2xx", "4xx", "5xx"].map((kind) => rate((of) => of.requests[kind] ?? 0)));
    this.charts.npcs.update([
      ticks((of) => of.npc_fetches.ok ?? 0),
      ticks((of) => of.npc_fetches.failed ?? 0),
      ticks((of) => of.npc_pushes),
    ]);
    const level = (pick) => history.filter((reading) => reading.dashboard).map(pick);
    this.charts.sessions.update([
      level((reading) => reading.dashboard.sessions.total_players),
      level((reading) => reading.dashboard.sessions.active),
      level((reading) => reading.signaling?.connections ?? 0),
    ]);
    this.charts.hosts.update([
      level((reading) => reading.dashboard.hosts.online),
      level((reading) => reading.dashboard.hosts.offline),
    ]);
    text(this.node, `Rates are of ${overview.node}, which has run for ${span(overview.uptime_seconds)}. The other numbers are of the whole fleet.`);
  }
}
