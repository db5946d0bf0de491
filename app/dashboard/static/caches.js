// What a report about the caches looks like. Every text is set as text.

import { el } from "/docs/dom.js";

const MODES = {
  serving: "all that the policy accepts is served",
  proving: "only the surer answers are served, the others are being proven",
  shadow: "found and compared, not served",
};

const money = new Intl.NumberFormat("en", { style: "currency", currency: "USD", maximumFractionDigits: 6 });
const count = (number) => number.toLocaleString("en");
const percent = (share, digits = 2) => `${(share * 100).toFixed(digits)} %`;

function figure(name, value, note) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value, note && el("small", {}, note)));
}

export function figuresOf(report) {
  const unknown = report.hits_without_saved_cost;
  return el(
    "dl", { class: "figures" },
    figure("Hit rate", report.hit_rate === null ? "–" : percent(report.hit_rate, 1), `${count(report.hits)} hits, ${count(report.misses)} misses`),
    figure("Exact hits", count(report.exact_hits)),
    figure("Similar answers", count(report.semantic_hits)),
    figure(
      "Saved", report.saved_cost === null ? "unknown" : money.format(report.saved_cost),
      unknown ? `${count(unknown)} hits without a known price` : `${count(report.tokens_saved)} tokens`,
    ),
    figure("Entries", count(report.entries.count), `${count(report.entries.stored_bytes)} bytes stored`),
  );
}

function tierOf(tier) {
  const found = `${tier.wrong} wrong of ${count(tier.checked)}, at most ${percent(tier.bound)}`;
  return el("li", {}, el("span", { class: `mode ${tier.mode}` }, tier.mode), ` ${tier.tier}: ${found}`);
}

function rowOf(namespace) {
  return el(
    "tr", {},
    el("th", { scope: "row", class: "name" }, namespace.namespace, el("span", { class: "note" }, namespace.policy)),
    el("td", {}, el("span", { class: `mode ${namespace.mode}` }, namespace.mode), el("span", { class: "note" }, MODES[namespace.mode])),
    el("td", {}, percent(namespace.bound), el("span", { class: "note" }, `budget ${percent(namespace.error_budget)}`)),
    el("td", {}, `${count(namespace.wrong)} of ${count(namespace.checked)}`, el("span", { class: "note" }, `${count(namespace.reported)} reported`)),
    el("td", {}, count(namespace.served)),
    el("td", {}, count(namespace.shadowed)),
    el("td", {}, el("ul", { class: "tiers" }, ...namespace.tiers.map(tierOf))),
  );
}

export function namespacesOf(namespaces) {
  if (!namespaces.length) return el("p", {}, "No similar question was found so far, or the semantic cache is off.");
  const heads = ["Namespace", "Mode", "Wrong, at most", "Checks: wrong", "Served", "Found, not served", "Tiers, with all surer ones"];
  return el(
    "div", { class: "scroll" },
    el(
      "table", {}, el("caption", {}, "Whether similar answers are served"),
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, ...namespaces.map(rowOf)),
    ),
  );
}
