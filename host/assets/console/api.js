// Talks to the service. The session is in a cookie that no script can read; its token is kept in this variable alone.

let token = "";

/** An answer that is no success. */
export class Problem extends Error {
  constructor(status, body) {
    const parts = [body.detail || body.title || `status ${status}`];
    if (body.mend && !parts[0].includes(body.mend)) parts.push(body.mend);
    for (const error of body.errors ?? []) parts.push(`${error.field} ${error.message}`);
    super(parts.join(" · "));
    this.status = status;
    this.body = body;
  }
}

let signedOut = () => {};

/** What to do when the service says that the session is over. */
export function onSignedOut(handler) {
  signedOut = handler;
}

async function send(method, path, body) {
  const headers = { accept: "application/json" };
  if (token) headers["x-console-token"] = token;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
    });
  } catch {
    throw new Problem(0, { detail: "The service cannot be reached" });
  }
  const answer = response.status === 204 ? null : await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, answer ?? {});
  return answer;
}

/** The session of this browser, null when there is none. */
export async function session() {
  const view = await send("GET", "/console/session");
  token = view?.token ?? "";
  return view;
}

/** Signs in. The key is in this one request and nowhere else. */
export async function signIn(key) {
  token = (await send("POST", "/console/sign-in", { api_key: key })).token;
  const view = await session();
  if (!view) throw new Problem(0, { detail: "The browser did not keep the session: in production the console needs https" });
  return view;
}

/** Makes the session last longer. */
export async function renew() {
  const view = await send("POST", "/console/session/renew");
  token = view.token;
  return view;
}

/** Signs out. */
export async function signOut() {
  try {
    await send("DELETE", "/console/session");
  } finally {
    token = "";
  }
}

/** A request of the API, below `/api/v1`. */
export async function call(method, path, body) {
  try {
    return await send(method, `/console/api${path}`, body);
  } catch (problem) {
    if (problem.status === 401) signedOut();
    throw problem;
  }
}
