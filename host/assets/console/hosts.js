// Hosts, best score first.

import { ago, badge, count, decimal, el, Table } from "./dom.js";

const KINDS = { online: "good", offline: "", busy: "warn", maintenance: "warn" };

export class Hosts {
  static title = "Hosts";

  constructor(live) {
    this.live = live;
    this.search = el("input", { id: "host-search", type: "search", autocomplete: "off", oninput: () => this.update() });
    const statuses = ["", ...Object.keys(KINDS)].map((status) => el("option", { value: status }, status || "any"));
    this.status = el("select", { id: "host-status", onchange: () => this.update() }, statuses);
    const now = () => this.live.parts.overview?.at;
    this.table = new Table({
      caption: "Hosts",
      key: (host) => host.host_id,
      empty: "No host matches.",
      columns: [
        { title: "Host", text: (host) => host.host_id },
        { title: "Player", text: (host) => `${host.player_name} (${host.player_id})` },
        { title: "Region", text: (host) => host.region ?? "–" },
        { title: "Status", cell: (host) => badge(host.status, KINDS[host.status]), depends: (host) => host.status },
        { title: "Score", number: true, text: (host) => decimal(host.quality_score) },
        { title: "Latency", number: true, text: (host) => `${decimal(host.latency_ms)} ms` },
        { title: "Loss", number: true, text: (host) => `${decimal(host.packet_loss_percent)} %` },
        { title: "Players", number: true, text: (host) => `${count(host.current_players)} / ${count(host.max_players)}` },
        { title: "Zones", number: true, text: (host) => `${count(host.current_zones)} / ${count(host.max_zones)}` },
        { title: "Heartbeat", number: true, text: (host) => ago(host.last_heartbeat, now()) },
      ],
    });
    this.element = el("div", {},
      el("h1", {}, "Hosts"),
      el("div", { class: "filters" },
        el("div", {}, el("label", { for: "host-search" }, "Host, player or region"), this.search),
        el("div", {}, el("label", { for: "host-status" }, "Status"), this.status)),
      el("section", { class: "card" }, this.table.element));
  }

  update() {
    const hosts = this.live.parts.hosts;
    if (!hosts) return;
    const wanted = this.search.value.trim().toLowerCase();
    const fits = (host) => [host.host_id, host.player_id, host.player_name, host.region ?? ""].some((of) => of.toLowerCase().includes(wanted));
    const shown = hosts.entries.filter((host) => (!this.status.value || host.status === this.status.value) && fits(host));
    const cut = hosts.total > hosts.entries.length ? `, of the best ${count(hosts.entries.length)} of ${count(hosts.total)}` : "";
    this.table.update(shown, `${count(shown.length)} hosts${cut}, best score first`);
  }
}
