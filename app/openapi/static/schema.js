// Showing JSON Schemas, and making an example of one.

import { el, prose } from "./dom.js";

export function resolve(document, node) {
  let found = node ?? {};
  for (let hops = 0; found.$ref && hops < 10; hops += 1) {
    found = found.$ref
      .replace(/^#\//, "")
      .split("/")
      .reduce((at, part) => at?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], document) ?? {};
  }
  return found;
}

const alternatives = (schema) => schema.anyOf ?? schema.oneOf ?? [];

export function typeOf(document, node) {
  const schema = resolve(document, node);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const choices = alternatives(schema);
  if (choices.length) return [...new Set(choices.map((choice) => typeOf(document, choice)))].join(" | ");
  const types = [schema.type ?? (schema.properties ? "object" : "any")].flat();
  const names = types.map((type) => (type === "array" && schema.items ? `${typeOf(document, schema.items)}[]` : type));
  return names.join(" | ") + (schema.format ? ` (${schema.format})` : "");
}

const LIMITS = {
  minimum: "≥", maximum: "≤", exclusiveMinimum: ">", exclusiveMaximum: "<",
  minLength: "length ≥", maxLength: "length ≤", minItems: "items ≥", maxItems: "items ≤",
};

export function limitsOf(schema) {
  const limits = Object.entries(LIMITS).filter(([key]) => key in schema).map(([key, sign]) => `${sign} ${schema[key]}`);
  if ("default" in schema) limits.push(`default ${JSON.stringify(schema.default)}`);
  return limits.join(", ");
}

function findProperties(document, node) {
  const schema = resolve(document, node);
  if (schema.properties) return schema;
  if (schema.items) return findProperties(document, schema.items);
  for (const choice of alternatives(schema)) {
    const found = findProperties(document, choice);
    if (found) return found;
  }
  return null;
}

export function showSchema(document, node, depth = 0) {
  const schema = findProperties(document, node);
  const top = resolve(document, node);
  const box = el("div", { class: "schema" });
  if (depth === 0) box.append(el("p", {}, el("span", { class: "type" }, typeOf(document, node))));
  if (depth === 0 && top.description) box.append(prose(top.description));
  if (!schema || depth > 6) return box;
  const list = el("ul", { class: "fields" });
  for (const [name, child] of Object.entries(schema.properties)) {
    const resolved = resolve(document, child);
    const line = [
      el("code", { class: "name" }, name), " ",
      el("span", { class: "type" }, typeOf(document, child)),
      schema.required?.includes(name) ? el("span", { class: "required" }, " required") : null,
      el("span", { class: "limits" }, ` ${limitsOf(resolved)}`),
    ];
    const item = el("li", {});
    if (findProperties(document, child)) {
      const inner = el("details", {}, el("summary", {}, ...line));
      inner.addEventListener("toggle", () => {
        if (inner.open && inner.children.length === 1) inner.append(showSchema(document, child, depth + 1));
      });
      item.append(inner);
    } else item.append(...line);
    const description = child.description ?? resolved.description;
    if (description) item.append(prose(description));
    list.append(item);
  }
  box.append(list);
  return box;
}

const SAMPLES = { string: "text", integer: 1, number: 1, boolean: true, null: null };

export function exampleOf(document, node, depth = 0) {
  const schema = resolve(document, node);
  if ("example" in schema) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  if ("default" in schema) return schema.default;
  if ("const" in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  const [choice] = alternatives(schema);
  if (choice) return exampleOf(document, choice, depth);
  const type = [schema.type].flat()[0];
  if (type === "array") return depth > 3 ? [] : [exampleOf(document, schema.items, depth + 1)];
  if (type !== "object" && !schema.properties) return SAMPLES[type] ?? null;
  const wanted = Object.entries(schema.properties ?? {}).filter(([name]) => !schema.required || schema.required.includes(name));
  return depth > 3 ? {} : Object.fromEntries(wanted.map(([name, child]) => [name, exampleOf(document, child, depth + 1)]));
}
