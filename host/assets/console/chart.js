// Line charts of the last minutes, drawn as SVG. Lines differ by colour and by dashes, and the legend has the numbers.

import { decimal, el, svg, text } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 120;

/** The least 1, 2 or 5 times a power of ten that is not below `value`. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

/** A chart in a card. `series` are names, in the order of the lines. */
export class Chart {
  constructor({ title, unit, series, slots }) {
    Object.assign(this, { title, unit, slots });
    this.lines = series.map((name, index) => {
      const line = svg("polyline", { class: `s${index + 1}` });
      const value = el("strong", {}, "–");
      const swatch = svg("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" }, svg("polyline", { class: `s${index + 1}`, points: "0,5 26,5", "stroke-width": 3 }));
      return { name, line, value, item: el("li", {}, swatch, `${name} `, value) };
    });
    const frame = svg("path", { class: "frame", d: `M0 0H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT}H${WIDTH}` });
    this.plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title },
      frame, this.lines.map(({ line }) => line));
    this.most = el("span", {}, "");
    this.since = el("span", {}, "");
    this.element = el("section", { class: "card chart" },
      el("h2", {}, title),
      el("div", { class: "scale" }, this.most),
      this.plot,
      el("div", { class: "scale" }, this.since, el("span", {}, "now")),
      el("ul", { class: "legend" }, this.lines.map(({ item }) => item)));
  }

  /** `values` has one list per line, the latest at the end, one entry a second. */
  update(values) {
    const top = ceiling(Math.max(0, ...values.flat()));
    text(this.most, `${decimal(top)} ${this.unit}`);
    const shown = Math.max(...values.map((list) => list.length), 0);
    const across = Math.max(60, Math.min(this.slots, shown));
    text(this.since, across < 120 ? `${across} s ago` : `${Math.round(across / 60)} min ago`);
    const said = [];
    this.lines.forEach(({ name, line, value }, index) => {
      const list = values[index].slice(-across);
      const points = list.map((entry, place) => {
        const x = WIDTH - ((list.length - 1 - place) * WIDTH) / (across - 1);
        return `${x.toFixed(1)},${(HEIGHT - (entry / top) * HEIGHT).toFixed(1)}`;
      });
      line.setAttribute("points", points.join(" "));
      text(value, list.length ? `${decimal(list.at(-1))} ${this.unit}` : "–");
      said.push(`${name} ${list.length ? decimal(list.at(-1)) : "unknown"}`);
    });
    this.plot.setAttribute("aria-label", `${this.title}, ${this.unit}: ${said.join(", ")}`);
  }
}

/** A bar of shares: `bar([["component", 90], ["native", 10]])`. */
export function bar(shares, label) {
  const all = shares.reduce((sum, [, value]) => sum + value, 0);
  let x = 0;
  const parts = shares.map(([, value], index) => {
    const width = all > 0 ? (100 * value) / all : 0;
    const part = svg("rect", { x, y: 0, width, height: 4, class: `s${index + 1}` });
    x += width;
    return part;
  });
  return svg("svg", { class: "bar", viewBox: "0 0 100 4", preserveAspectRatio: "none", role: "img", "aria-label": label }, parts);
}
