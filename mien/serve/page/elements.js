"use strict";
// What both pages, that for photos and that for reviews, are built from. Text is only ever set as text.

const find = (id) => document.getElementById(id), status = find("status");

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function tell(text, bad = false) {
  status.textContent = text;
  status.className = bad ? "bad" : "";
}

/** Returns a row of a table: a name, a bar as long as its share, and what that is in words. */
function barRow(name, share, text, inside) {
  const inner = make("span");
  inner.style.width = `${100 * share}%`;
  const bar = make("span", { class: "bar", "aria-hidden": "true" }, inner);
  return make("tr", { class: inside ? "in" : "" }, make("th", { scope: "row" }, name), make("td", { "aria-hidden": "true" }, bar), make("td", {}, text));
}
