// Asks before something is decided, with the reason for the audit.

import { text } from "./dom.js";

const at = (id) => document.getElementById(id);

/** What the operator gives: `{ note, number }`, or null when the answer is no. */
export function ask({ title, message, yes, number }) {
  const dialog = at("ask");
  text(at("ask-title"), title);
  text(at("ask-text"), message);
  text(at("ask-yes"), yes);
  at("ask-note").value = "";
  at("ask-number-line").hidden = !number;
  at("ask-number").disabled = !number;
  if (number) {
    text(at("ask-number-label"), number.label);
    Object.assign(at("ask-number"), { min: number.min, max: number.max, value: number.value });
  }
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = { note: at("ask-note").value.trim(), number: number ? at("ask-number").valueAsNumber : undefined };
      resolve(dialog.returnValue === "yes" ? given : null);
    }, { once: true });
  });
}
