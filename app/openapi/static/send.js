// Trying an operation out. The key lives in the page's form and nowhere else; answers are shown while they come in.

import { el } from "./dom.js";
import { exampleOf, resolve } from "./schema.js";

const SHOWN = 200_000;

function addCredential(headers, document) {
  const key = window.document.getElementById("key").value.trim();
  const scheme = document.components?.securitySchemes?.[window.document.getElementById("scheme").value];
  if (!key || !scheme) return;
  if (scheme.type === "http") headers.set("authorization", `Bearer ${key}`);
  else headers.set(scheme.name, key);
}

function encodePlace(name, value) {
  return name === "model" ? value.split("/").map(encodeURIComponent).join("/") : encodeURIComponent(value);
}

function buildRequest(document, operation, fields, body, file) {
  let path = operation.path;
  const query = new URLSearchParams();
  const headers = new Headers();
  for (const { parameter, input } of fields) {
    const value = input.value;
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodePlace(parameter.name, value));
    else if (value !== "" && parameter.in === "query") query.append(parameter.name, value);
    else if (value !== "" && parameter.in === "header") headers.set(parameter.name, value);
  }
  if (operation.security.length) addCredential(headers, document);
  const request = { method: operation.method.toUpperCase(), headers, credentials: "omit", redirect: "manual", cache: "no-store" };
  if (file) {
    request.body = new FormData();
    request.body.append("file", file.input.files[0] ?? new Blob([]), file.input.files[0]?.name ?? "empty");
    request.body.append("purpose", file.purpose.value);
  } else if (body) {
    headers.set("content-type", "application/json");
    request.body = body.value;
  }
  return [path + (query.size ? `?${query}` : ""), request];
}

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function writeCurl(address, request) {
  const lines = [`curl ${request.method === "HEAD" ? "--head" : `-X ${request.method}`} ${quote(location.origin + address)}`];
  for (const [name, value] of request.headers) {
    const secret = /^(authorization|x-api-key|x-relay-api-key|x-relay-upstream-key)$/.test(name);
    const shown = secret ? (name === "authorization" ? "Bearer $KEY" : "$KEY") : value;
    lines.push(secret ? `-H "${name}: ${shown}"` : `-H ${quote(`${name}: ${shown}`)}`);
  }
  if (request.body instanceof FormData) lines.push("-F file=@FILE", `-F ${quote(`purpose=${request.body.get("purpose")}`)}`);
  else if (request.body) lines.push(`--no-buffer -d ${quote(request.body)}`);
  return lines.join(" \\\n  ");
}

function pretty(text, type) {
  if (!type.includes("json") || type.includes("jsonl")) return text;
  try {
    // Numbers beyond what JavaScript holds would be shown wrongly, so such an answer stays as it came.
    return /[[:,]\s*-?\d{16}/.test(text) ? text : JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function showAnswer(response, output, started) {
  const seconds = () => `${((performance.now() - started) / 1000).toFixed(2)} s`;
  output.status.textContent = `${response.status} ${response.statusText} · first byte after ${seconds()}`;
  output.status.className = response.ok ? "good" : "bad";
  output.headers.textContent = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  const type = response.headers.get("content-type") ?? "";
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  let text = "";
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
    if (text.length > SHOWN) {
      await reader.cancel();
      text = `${text.slice(0, SHOWN)}\n… (more is not shown)`;
      break;
    }
    output.body.textContent = text;
  }
  output.body.textContent = pretty(text, type);
  output.status.textContent += ` · complete after ${seconds()}`;
}

function buildField(document, operation, parameter) {
  const schema = resolve(document, parameter.schema);
  const id = `${operation.operationId}-${parameter.in}-${parameter.name}`;
  const example = parameter.in === "path" ? (parameter.example ?? "") : "";
  const input = schema.enum
    ? el("select", { id }, el("option", { value: "" }, ""), ...schema.enum.map((value) => el("option", {}, value)))
    : el("input", { id, value: example, required: parameter.required, placeholder: parameter.example ?? "" });
  const label = el("label", { for: id }, el("code", {}, parameter.name), ` in ${parameter.in}`);
  return { parameter, input, row: el("div", { class: "field" }, label, input) };
}

export function buildTryOut(document, operation) {
  const fields = operation.parameters.map((parameter) => buildField(document, operation, parameter));
  const [mediaType, media] = Object.entries(resolve(document, operation.requestBody).content ?? {})[0] ?? [];
  const upload = mediaType === "multipart/form-data";
  const bodyId = `${operation.operationId}-body`;
  const json = media && !upload ? JSON.stringify(exampleOf(document, media.schema), null, 2) : null;
  const body = json === null ? null : el("textarea", { id: bodyId, rows: Math.min(16, json.split("\n").length + 1), spellcheck: "false" });
  if (body) body.value = json;
  const file = upload ? { input: el("input", { id: bodyId, type: "file" }), purpose: el("input", { id: `${bodyId}-purpose`, value: "batch" }) } : null;
  const output = {
    curl: el("pre", { class: "curl", tabindex: "0", "aria-label": "The same request for curl" }),
    status: el("p", { role: "status" }),
    headers: el("pre", { tabindex: "0", "aria-label": "Headers of the answer" }),
    body: el("pre", { tabindex: "0", "aria-label": "Body of the answer" }),
  };
  const sendButton = el("button", { type: "submit" }, "Send");
  const stopButton = el("button", { type: "button", disabled: true }, "Stop");
  const result = el("div", { class: "result", hidden: true }, output.curl, output.status, el("details", {}, el("summary", {}, "Headers"), output.headers), output.body);
  let flight = null;

  async function send(event) {
    event.preventDefault();
    flight = new AbortController();
    const [address, request] = buildRequest(document, operation, fields, body, file);
    result.hidden = false;
    output.curl.textContent = writeCurl(address, request);
    output.status.textContent = "Waiting for the answer…";
    output.status.className = "";
    output.body.textContent = output.headers.textContent = "";
    sendButton.disabled = true;
    stopButton.disabled = false;
    try {
      const started = performance.now();
      await showAnswer(await fetch(address, { ...request, signal: flight.signal }), output, started);
    } catch (error) {
      output.status.textContent = error.name === "AbortError" ? "Stopped." : `The request failed: ${error.message}`;
      output.status.className = "bad";
    } finally {
      sendButton.disabled = false;
      stopButton.disabled = true;
    }
  }

  stopButton.addEventListener("click", () => flight?.abort());
  return el(
    "form",
    { class: "try", onsubmit: send, autocomplete: "off", "aria-label": `Try out ${operation.method.toUpperCase()} ${operation.path}` },
    ...fields.filter(({ parameter }) => parameter.in !== "header").map(({ row }) => row),
    fields.some(({ parameter }) => parameter.in === "header")
      ? el("details", {}, el("summary", {}, "Headers"), ...fields.filter(({ parameter }) => parameter.in === "header").map(({ row }) => row))
      : null,
    body ? el("div", { class: "field wide" }, el("label", { for: bodyId }, `Body (${mediaType})`), body) : null,
    file ? el("div", { class: "field" }, el("label", { for: bodyId }, "File"), file.input) : null,
    file ? el("div", { class: "field" }, el("label", { for: `${bodyId}-purpose` }, "Purpose"), file.purpose) : null,
    el("div", { class: "buttons" }, sendButton, stopButton),
    result,
  );
}
