// Building elements. Text is always set as text, so nothing in a document can become markup.

export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Of Markdown only what our descriptions use: paragraphs and `code`.
export function prose(text, className = "prose") {
  const box = el("div", { class: className });
  for (const paragraph of (text ?? "").split(/\n\s*\n/)) {
    if (!paragraph.trim()) continue;
    const p = el("p");
    paragraph.split("`").forEach((part, index) => p.append(index % 2 ? el("code", {}, part) : part));
    box.append(p);
  }
  return box;
}
