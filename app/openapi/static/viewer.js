// The page: reads /openapi.json and shows its operations by tag, each built when it is opened.

import { el, prose } from "./dom.js";
import { exampleOf, limitsOf, resolve, showSchema, typeOf } from "./schema.js";
import { buildTryOut } from "./send.js";

const METHODS = ["get", "head", "post", "put", "patch", "delete", "options"];
const find = (id) => document.getElementById(id);

function listOperations(description) {
  const operations = [];
  for (const [path, item] of Object.entries(description.paths ?? {})) {
    for (const method of METHODS.filter((name) => item[name])) {
      const operation = item[method];
      const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((one) => resolve(description, one));
      operations.push({ security: description.security ?? [], tags: ["Other"], ...operation, parameters, path, method });
    }
  }
  return operations;
}

function table(caption, heads, rows) {
  const head = el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text)));
  const lines = rows.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell))));
  return el("div", { class: "scroll" }, el("table", {}, el("caption", {}, caption), el("thead", {}, head), el("tbody", {}, ...lines)));
}

function showParameters(description, operation) {
  const rows = operation.parameters.map((parameter) => {
    const schema = resolve(description, parameter.schema);
    const limits = [parameter.required ? "required" : "", limitsOf(schema)].filter(Boolean).join(", ");
    return [
      el("span", {}, el("code", {}, parameter.name), ` ${parameter.in}`),
      el("span", {}, el("span", { class: "type" }, typeOf(description, schema)), ` ${limits}`),
      prose(parameter.description),
    ];
  });
  return rows.length ? table("Parameters", ["Name", "Type", "Meaning"], rows) : null;
}

function showContent(description, content) {
  return Object.entries(content ?? {}).map(([type, media]) => {
    const schema = resolve(description, media.schema);
    const example = exampleOf(description, media.schema);
    const shown = typeof example === "string" ? example : JSON.stringify(example, null, 2);
    const parts = [el("h4", {}, type), showSchema(description, media.schema)];
    if (schema.example || schema.examples) parts.push(el("pre", { tabindex: "0", "aria-label": `Example of ${type}` }, shown));
    return el("div", { class: "media" }, ...parts);
  });
}

function showResponse(description, status, node) {
  const response = resolve(description, node);
  const headers = Object.entries(response.headers ?? {}).map(([name, header]) => [el("code", {}, name), prose(resolve(description, header).description)]);
  const kind = status.startsWith("2") ? "good" : "bad";
  const summary = el("summary", {}, el("strong", { class: kind }, status), " ", prose(response.description, "inline"));
  const details = el("details", { class: "response" }, summary);
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    if (headers.length) details.append(table("Headers", ["Name", "Meaning"], headers));
    details.append(...showContent(description, response.content));
  });
  return details;
}

function fill(description, operation, section) {
  const body = resolve(description, operation.requestBody);
  const responses = Object.entries(operation.responses ?? {});
  const access = operation.security.length ? "Needs an API key." : "Needs no API key.";
  section.append(
    prose([operation.description, access].filter(Boolean).join("\n\n")),
    el("h3", {}, "Try it out"), buildTryOut(description, operation),
    ...(operation.parameters.length ? [el("h3", {}, "Parameters"), showParameters(description, operation)] : []),
    ...(body.content ? [el("h3", {}, "Request body"), ...showContent(description, body.content)] : []),
    el("h3", {}, "Responses"), ...responses.map(([status, node]) => showResponse(description, status, node)),
  );
}

function buildOperation(description, operation) {
  const heading = el(
    "summary", {},
    el("span", { class: `method ${operation.method}` }, operation.method.toUpperCase()), " ",
    el("code", { class: "path" }, operation.path), " ",
    el("span", { class: "what" }, operation.summary ?? ""),
    operation.deprecated ? el("span", { class: "limits" }, " deprecated") : null,
  );
  const details = el("details", { class: "operation", id: operation.operationId }, heading);
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) {
      const section = el("div", { class: "inside" });
      fill(description, operation, section);
      details.append(section);
    }
  });
  return details;
}

function show(description) {
  const operations = listOperations(description);
  const tags = [...new Set([...(description.tags ?? []).map((tag) => tag.name), ...operations.flatMap((one) => one.tags)])];
  find("title").textContent = `${description.info.title} API ${description.info.version}`;
  document.title = find("title").textContent;
  for (const [name, scheme] of Object.entries(description.components?.securitySchemes ?? {})) {
    find("scheme").append(el("option", { value: name }, scheme.type === "http" ? "Authorization: Bearer" : scheme.name));
  }
  const intro = el("section", { class: "intro" }, prose(description.info.description));
  intro.append(el("p", {}, "For programs: ", el("a", { href: "/openapi.json" }, "/openapi.json"), ` (OpenAPI ${description.openapi})`));
  find("operations").append(intro);
  const entries = [];
  for (const tag of tags) {
    const section = el("section", { "aria-label": tag }, el("h2", {}, tag));
    const list = el("ul", {});
    const group = el("div", {}, el("h2", {}, tag), list);
    for (const operation of operations.filter((one) => one.tags[0] === tag)) {
      const details = buildOperation(description, operation);
      const link = el("li", {}, el("a", { href: `#${operation.operationId}` }, operation.summary ?? operation.path));
      section.append(details);
      list.append(link);
      entries.push({ details, link, text: [operation.path, operation.summary, operation.operationId, tag].join(" ").toLowerCase() });
    }
    if (!list.children.length) continue;
    find("operations").append(section);
    find("contents").append(group);
    entries.filter(({ link }) => link.parentElement === list).forEach((entry) => Object.assign(entry, { section, group }));
  }
  return entries;
}

function filter(entries) {
  const words = find("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const entry of entries) {
    entry.details.hidden = entry.link.hidden = !words.every((word) => entry.text.includes(word));
  }
  for (const { section, group } of entries) {
    section.hidden = group.hidden = entries.every((entry) => entry.section !== section || entry.details.hidden);
  }
  find("found").textContent = words.length ? `${entries.filter((entry) => !entry.details.hidden).length} operations found` : "";
}

function openLinked() {
  const details = find(decodeURIComponent(location.hash.slice(1)));
  if (!details?.classList.contains("operation")) return;
  details.hidden = details.parentElement.hidden = false;
  details.open = true;
  details.scrollIntoView();
}

async function begin() {
  const loading = find("loading");
  find("key-form").addEventListener("submit", (event) => event.preventDefault());
  try {
    const response = await fetch("/openapi.json");
    if (!response.ok) throw new Error(`status ${response.status}`);
    const entries = show(await response.json());
    find("filter").addEventListener("input", () => filter(entries));
    addEventListener("hashchange", openLinked);
    loading.remove();
    openLinked();
  } catch (error) {
    loading.textContent = `The description could not be shown: ${error.message}`;
    loading.className = "bad";
  }
}

begin();
