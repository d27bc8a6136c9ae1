// Building blocks of the pages: elements, tables that change in place, numbers and moments as people read them.
// Text only ever becomes text: nothing here makes markup of a string.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** An element: `el("p", { class: "soft" }, "text", other)`. */
export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Sets a text only when it is another, so that nothing moves and no screen reader starts anew. */
export function text(node, value) {
  const wanted = String(value ?? "");
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** A badge that says a state in a word. */
export function badge(word, kind = "") {
  return el("span", { class: `badge ${kind}` }, word);
}

/** A list of terms: `facts([["Release", "4f1c"]])`. */
export function facts(pairs) {
  const entries = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, entries.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]));
}

/**
 * A table whose rows are kept by their key. A column is `{ title, text(row) }` or `{ title, cell(row), depends(row) }`, where the
 * cell is made anew only when what it depends on changes: a focused button stays focused.
 */
export class Table {
  constructor({ caption, key, columns, empty, chosen }) {
    Object.assign(this, { key, columns, chosen });
    this.rows = new Map();
    const heads = columns.map((column) => el("th", { scope: "col", class: column.number ? "number" : "" }, column.title));
    this.caption = el("caption", {}, caption);
    this.body = el("tbody");
    this.empty = el("p", { class: "soft" }, empty ?? "None.");
    this.scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      el("table", {}, this.caption, el("thead", {}, el("tr", {}, heads)), this.body));
    this.element = el("div", {}, this.scroll, this.empty);
    this.update([]);
  }

  update(rows, caption) {
    if (caption) text(this.caption, caption);
    this.scroll.hidden = rows.length === 0;
    this.empty.hidden = rows.length !== 0;
    const wanted = new Set(rows.map(this.key));
    for (const [key, known] of this.rows) {
      if (!wanted.has(key)) {
        known.line.remove();
        this.rows.delete(key);
      }
    }
    rows.forEach((row, index) => {
      const key = this.key(row);
      let known = this.rows.get(key);
      if (!known) {
        const cells = this.columns.map((column) => el("td", { class: column.number ? "number" : column.class ?? "" }));
        known = { line: el("tr", {}, cells), cells, seen: [] };
        this.rows.set(key, known);
      }
      this.columns.forEach((column, place) => {
        if (column.text) return text(known.cells[place], column.text(row));
        const depends = JSON.stringify(column.depends ? column.depends(row) : row);
        if (known.seen[place] !== depends) {
          known.seen[place] = depends;
          known.cells[place].replaceChildren(column.cell(row));
        }
      });
      known.line.classList.toggle("chosen", Boolean(this.chosen?.(row)));
      if (this.body.children[index] !== known.line) this.body.insertBefore(known.line, this.body.children[index] ?? null);
    });
  }
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** `1,234`, or a dash. */
export const count = (value) => (Number.isFinite(value) ? whole.format(value) : "–");
/** At most one digit behind the point, or a dash. */
export const decimal = (value) => (Number.isFinite(value) ? short.format(value) : "–");
/** `12.5 %` of a share. */
export const percent = (part, all) => (all > 0 ? `${short.format((100 * part) / all)} %` : "–");
/** A time of microseconds. */
export const micros = (value) => {
  if (!Number.isFinite(value)) return "–";
  return value < 1000 ? `${short.format(value)} µs` : `${short.format(value / 1000)} ms`;
};
/** The first digits of a release's id; `bundled` for none. */
export const release = (id) => (id ? id.slice(0, 12) : "bundled");

/** How long, in the largest two units. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const all = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(all / 86400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${all % 60} s` : `${all} s`;
}

/** How long ago a moment was, by the service's clock. */
export function ago(moment, now) {
  return moment ? `${span((Date.parse(now) - Date.parse(moment)) / 1000)} ago` : "never";
}

/** A moment in the reader's own time. */
export function moment(value) {
  return value ? new Date(value).toLocaleString() : "–";
}
