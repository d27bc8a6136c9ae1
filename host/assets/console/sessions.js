// Sessions that are live, and the latest that are over.

import { ago, badge, count, decimal, el, moment, Table } from "./dom.js";

const KINDS = { active: "good", pending: "warn", paused: "warn", ended: "", failed: "bad" };

export class Sessions {
  static title = "Sessions";

  constructor(live) {
    this.live = live;
    this.search = el("input", { id: "session-search", type: "search", autocomplete: "off", oninput: () => this.update() });
    const now = () => this.live.parts.overview?.at;
    const columns = [
      { title: "Session", class: "mono", text: (session) => session.session_id },
      { title: "Zone", text: (session) => session.zone },
      { title: "Host", text: (session) => session.host },
      { title: "Status", cell: (session) => badge(session.status, KINDS[session.status]), depends: (session) => session.status },
      { title: "Players", class: "wide", text: (session) => players(session) },
    ];
    const why = {
      title: "Host chosen",
      cell: (session) => el("a", { href: `#decisions/host-selection/${encodeURIComponent(session.session_id)}`, "aria-label": `Why session ${session.session_id} got its host` }, "why?"),
      depends: (session) => session.session_id,
    };
    this.table = new Table({
      caption: "Live sessions",
      key: (session) => session.session_id,
      empty: "No live session matches.",
      columns: [
        ...columns,
        { title: "Latency", number: true, text: (session) => `${decimal(session.average_latency_ms)} ms` },
        { title: "Opened", number: true, text: (session) => ago(session.created_at, now()) },
        why,
      ],
    });
    this.over = new Table({
      caption: "Over",
      key: (session) => session.session_id,
      empty: "None is over yet.",
      columns: [...columns, { title: "Ended", number: true, text: (session) => moment(session.ended_at) }, why],
    });
    this.element = el("div", {},
      el("h1", {}, "Sessions"),
      el("div", { class: "filters" },
        el("div", {}, el("label", { for: "session-search" }, "Session, zone, host or player"), this.search)),
      el("section", { class: "card" }, el("h2", {}, "Live"), this.table.element),
      el("section", { class: "card" }, el("h2", {}, "Over"), this.over.element));
  }

  update() {
    const sessions = this.live.parts.sessions;
    if (!sessions) return;
    const wanted = this.search.value.trim().toLowerCase();
    const fits = (session) => [session.session_id, session.zone, session.host, ...session.players].some((of) => of.toLowerCase().includes(wanted));
    const live = sessions.live.filter(fits);
    this.table.update(live, `${count(live.length)} live sessions, newest first`);
    this.over.update(sessions.over.filter(fits), "The latest that are over");
  }
}

function players(session) {
  const more = session.current_players - session.players.length;
  const named = session.players.join(", ") || "nobody";
  return `${session.current_players} / ${session.max_players}: ${named}${more > 0 ? ` and ${more} more` : ""}`;
}
