// Puts the console together: sign-in, pages, the live stream, sign-out.

import { onSignedOut, renew, session, signIn, signOut } from "./api.js";
import { el, text } from "./dom.js";
import { Hosts } from "./hosts.js";
import { Live } from "./live.js";
import { Overview } from "./overview.js";
import { Policies } from "./policies.js";
import { Decisions } from "./decisions.js";
import { Sessions } from "./sessions.js";

const PAGES = { overview: Overview, hosts: Hosts, sessions: Sessions, policies: Policies, decisions: Decisions };
const at = (id) => document.getElementById(id);
const LINK = { live: "good", reconnecting: "warn" };

const live = new Live();
let pages = {};
let shown = null;
let renewal;

/** Says something in the corner for a while. */
export function say(message, kind = "good") {
  const note = el("p", { class: `notice ${kind}` }, message);
  at("news").append(note);
  setTimeout(() => note.remove(), kind === "bad" ? 12000 : 6000);
}

function enter(view) {
  at("sign-in").hidden = true;
  at("pages").hidden = false;
  at("who").hidden = false;
  text(at("service"), view.service);
  text(at("version"), `version ${view.version}`);
  keep(view);
  live.start();
  show();
}

function leave(message = "") {
  live.stop();
  clearTimeout(renewal);
  pages = {};
  shown = null;
  at("page").replaceChildren();
  at("pages").hidden = true;
  at("who").hidden = true;
  at("sign-in").hidden = false;
  complain(message);
  document.title = "Console · p2p-coordinator";
  at("key").focus();
}

function complain(message) {
  at("sign-in-error").hidden = !message;
  text(at("sign-in-error"), message);
}

/** Renews the session well before it ends. */
function keep(view) {
  clearTimeout(renewal);
  const again = async () => {
    try {
      keep(await renew());
    } catch (problem) {
      if (problem.status === 401) over();
      else renewal = setTimeout(again, 30000);
    }
  };
  renewal = setTimeout(again, Math.max(10, view.seconds_left / 2) * 1000);
}

function over() {
  leave("The session is over; sign in again.");
}

/** Shows the page that the address names. */
function show() {
  if (at("pages").hidden) return;
  const [name, ...rest] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const wanted = name in PAGES ? name : "overview";
  for (const link of at("pages").children) {
    if (link.hash === `#${wanted}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  pages[wanted] ??= new PAGES[wanted](live, { say });
  const page = pages[wanted];
  page.go?.(rest);
  if (shown !== page) {
    shown?.hide?.();
    shown = page;
    at("page").replaceChildren(page.element);
    document.title = `${PAGES[wanted].title} · ${at("service").textContent}`;
  }
  page.update();
}

at("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [field, button] = [at("key"), event.target.querySelector("button")];
  complain("");
  button.disabled = true;
  try {
    const view = await signIn(field.value);
    enter(view);
    at("main").focus({ preventScroll: true });
  } catch (problem) {
    complain(problem.message);
    field.focus();
  } finally {
    field.value = "";
    button.disabled = false;
  }
});

at("sign-out").addEventListener("click", async () => {
  try {
    await signOut();
    leave();
  } catch (problem) {
    leave(problem.status === 401 ? "" : `Signed out here, but the service did not answer: ${problem.message}`);
  }
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  at("main").focus();
});
addEventListener("hashchange", show);
live.addEventListener("part", ({ detail }) => shown?.update(detail));
live.addEventListener("over", over);
live.addEventListener("link", ({ detail }) => {
  text(at("link"), detail);
  at("link").className = `badge ${LINK[detail] ?? ""}`;
});
onSignedOut(over);

try {
  const view = await session();
  if (view) enter(view);
  else leave();
} catch (problem) {
  leave(problem.message);
}
