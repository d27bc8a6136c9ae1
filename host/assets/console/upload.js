// The form that stores a release: a component, a note, settings.

import { el, text } from "./dom.js";

/** A card with the form. `store` takes the body of the upload. */
export function upload(store) {
  const file = el("input", { id: "component", type: "file", accept: ".wasm,application/wasm", required: true });
  const note = el("input", { id: "note", maxlength: 1024, autocomplete: "off" });
  const settings = el("textarea", { id: "settings", spellcheck: "false", autocomplete: "off", "aria-describedby": "settings-help" });
  const error = el("p", { class: "notice bad", role: "alert", hidden: true });
  const button = el("button", { class: "primary" }, "Store the release");
  const form = el("form", { class: "card", id: "upload" },
    el("h2", {}, "New release"),
    el("label", { for: "component" }, "Component (.wasm)"), file,
    el("label", { for: "note" }, "Note"), note,
    el("label", { for: "settings" }, "Settings"), settings,
    el("p", { class: "soft", id: "settings-help" }, "One NAME=value a line, handed to the policy. Storing changes nothing yet."),
    error,
    el("div", { class: "actions" }, button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.hidden = true;
    button.disabled = true;
    try {
      await store({ component: await base64(file.files[0]), note: note.value.trim(), settings: read(settings.value) });
      form.reset();
    } catch (problem) {
      text(error, problem.message);
      error.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

function read(lines) {
  const settings = {};
  for (const line of lines.split("\n").map((line) => line.trim()).filter(Boolean)) {
    const place = line.indexOf("=");
    if (place < 1) throw new Error(`Settings are NAME=value, and this is not: ${line}`);
    settings[line.slice(0, place).trim()] = line.slice(place + 1).trim();
  }
  return settings;
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
    reader.addEventListener("error", () => reject(new Error("The file cannot be read")));
    reader.readAsDataURL(file);
  });
}
