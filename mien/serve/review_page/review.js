"use strict";
// Shows doubtful faces and sends what the reviewer decides. Text is only ever set as text.

const WIDTH = 112, HEIGHT = 146; // of a cell with the gap after it
const grid = find("grid"), filters = find("filters");
const buttons = [...document.querySelectorAll(".answer")];
const known = new Map(), opened = new Map(), cells = new Map(); // row → face, row → promise of all about it, place → element
let rows = [], place = 0, columns = 1, single = false, model = false, loading = false;
let picked = [];
let work = Promise.resolve(); // what keys and buttons ask for is done one after the other, so that no key is lost

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error(`The program behind this page does not answer. Is it still running?${body ? " This was not kept." : ""}`);
  }
  const content = await response.json();
  if (!response.ok) throw new Error(content.detail);
  return content;
}

const act = (action) => (work = work.then(action).catch((error) => tell(error.message, true)));
const said = (decision) => ({ sure: "", unsure: "unsure", skip: "skipped" })[decision.how] + (decision.to.length ? `${decision.how === "unsure" ? ", leaning to " : ""}${decision.to.join(" or ")}` : "");
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

// ---------------------------------------------------------------------- which faces

async function list() {
  const chosen = new URLSearchParams(new FormData(filters));
  if (!filters.elements.below.value) chosen.set("below", "1");
  const found = await ask(`list?${chosen}`);
  rows = found.rows;
  for (const face of found.faces) known.set(face.row, face);
  place = 0;
  for (const cell of cells.values()) cell.remove();
  cells.clear();
  progress(found);
  scrollTo(0, 0);
  await show();
  tell(rows.length ? `${count(rows.length, "face")}.` : "No face is like that. Choose another filter.");
}

function progress(found) {
  find("counts").textContent = `${found.mine.toLocaleString("en")} of ${count(found.all, "face")} decided${found.conflicts ? `, ${count(found.conflicts, "conflict")}` : ""}.`;
}

// ---------------------------------------------------------------------- the grid: only what can be seen is there

function layout() {
  if (single) return;
  columns = Math.max(1, Math.floor((grid.clientWidth + 8) / WIDTH));
  grid.style.height = `${Math.ceil(rows.length / columns) * HEIGHT}px`;
  const top = scrollY - grid.offsetTop;
  const first = Math.max(0, Math.floor(top / HEIGHT) - 2) * columns;
  const end = Math.min(rows.length, (Math.ceil((top + innerHeight) / HEIGHT) + 2) * columns);
  for (const [where, cell] of cells) {
    if ((where < first || where >= end) && where !== place) {
      cell.remove();
      cells.delete(where);
    }
  }
  for (let where = first; where < end; where++) cells.get(where) || add(where);
  if (rows.length && !cells.has(place)) add(place);
  for (const [where, cell] of cells) {
    cell.style.left = `${(where % columns) * WIDTH}px`;
    cell.style.top = `${Math.floor(where / columns) * HEIGHT}px`;
    cell.firstChild.classList.toggle("now", where === place);
    cell.firstChild.tabIndex = where === place ? 0 : -1;
  }
  load(first, end);
}

function add(where) {
  const button = make("button", { type: "button", class: "cell" });
  const cell = make("div", { role: "listitem", class: "item", "aria-posinset": where + 1, "aria-setsize": rows.length }, button);
  cell.style.position = "absolute";
  button.addEventListener("click", () => act(() => go(where, true)));
  cells.set(where, cell);
  draw(where);
  grid.append(cell);
}

function draw(where) {
  const cell = cells.get(where), face = known.get(rows[where]);
  if (!cell) return;
  const button = cell.firstChild;
  if (!face) {
    button.replaceChildren(make("div", { class: "missing" }));
    return button.setAttribute("aria-label", `Face ${where + 1}`);
  }
  const parts = [picture(face), make("span", {}, face.label ?? "no label")];
  if (face.mine) parts.push(make("span", { class: "said" }, `${face.mine.how === "sure" ? "→ " : ""}${said(face.mine)}`));
  if (face.conflict) parts.push(make("span", { class: "differ" }, "people differ"));
  else if (face.others && !face.mine) parts.push(make("span", { class: "soft" }, `${face.others} decided`));
  button.replaceChildren(...parts);
  button.classList.toggle("decided", Boolean(face.mine));
  const words = [`Face ${where + 1}`, `labelled ${face.label ?? "nothing"}`];
  if (face.mine) words.push(`you decided: ${said(face.mine)}`);
  if (face.conflict) words.push("people differ");
  if (face.problem) words.push(face.problem);
  button.setAttribute("aria-label", words.join("; "));
}

function picture(face) {
  if (face.picture === null) return make("div", { class: "missing", title: face.problem }, "no picture");
  return make("img", { src: `data:image/png;base64,${face.picture}`, alt: "", width: 80, height: 80 });
}

/** Fetches what can be seen and is not known yet; where one scrolls on meanwhile, what has passed is not fetched. */
async function load(first, end) {
  if (loading) return;
  const wanted = rows.slice(first, end).filter((row) => !known.has(row)).slice(0, 200);
  if (!wanted.length) return;
  loading = true;
  try {
    if (known.size > 5000) known.clear();
    const found = await ask(`faces?rows=${wanted.join(",")}`);
    for (const face of found) known.set(face.row, face);
    for (const row of wanted) known.has(row) || known.set(row, { row, label: null, picture: null, problem: "forgotten", others: 0, mine: null });
    for (const where of cells.keys()) wanted.includes(rows[where]) && draw(where);
  } catch (error) {
    return tell(error.message, true);
  } finally {
    loading = false;
  }
  layout();
}

// ---------------------------------------------------------------------- one face

/** Returns the promise of all that is shown of a face; the next ones are fetched before they are wanted. */
function about(row) {
  if (!opened.has(row)) {
    if (opened.size > 60) opened.clear();
    const found = ask(`face/${row}?model=${model}`);
    opened.set(row, found);
    found.catch(() => opened.delete(row));
  }
  return opened.get(row);
}

async function showOne() {
  if (!rows.length) return find("one").hidden = true;
  find("one").hidden = false;
  const where = place, face = await about(rows[where]);
  for (const near of [where + 1, where + 2, where - 1]) near in rows && about(rows[near]).catch(() => {});
  if (where !== place || !single) return;
  const image = find("picture");
  image.hidden = face.picture === null;
  image.src = face.picture === null ? "" : `data:image/png;base64,${face.picture}`;
  image.alt = `Face ${place + 1}`;
  find("missing").hidden = face.picture !== null;
  find("missing").textContent = face.problem ?? "";
  find("name").textContent = `Face ${place + 1} of ${rows.length.toLocaleString("en")}`;
  find("facts").replaceChildren(...facts(face));
}

function facts(face) {
  const list = make("dl");
  const say = (name, value, kind = "") => value && list.append(make("dt", {}, name), make("dd", { class: kind }, value));
  say("label", face.label ?? "none");
  say("candidates", face.candidates && (face.candidates.join(", ") || "none"));
  say("doubt", face.doubts.join("; "));
  say("split", face.split);
  say("sample", face.sample);
  say("you", face.mine && said(face.mine) + (face.mine.why ? `: ${face.mine.why}` : ""));
  for (const one of face.said) say(one.who, said(one) + (one.why ? `: ${one.why}` : ""));
  if (face.others && !face.mine) say("others", `${face.others} decided; you see what once you have`);
  if (face.conflict) say("conflict", "people differ on this face", "differs");
  const parts = [list];
  if (face.votes) parts.push(bars("Votes", face.votes, face, (value) => String(value)));
  if (model && face.probs) parts.push(bars("Model", face.probs, face, (value) => `${Math.round(100 * value)} %`));
  if (model) parts.push(make("p", { class: "soft" }, `The model and the votes suggest ${face.suggested ?? "nothing"}.${face.probs ? "" : " For its probabilities, start with --predictions."}`));
  return parts;
}

function bars(title, values, face, format) {
  const table = make("table", { class: "values" }, make("caption", {}, title));
  const most = Math.max(1e-9, Object.values(values).reduce((sum, value) => sum + value, 0));
  for (const [name, value] of Object.entries(values)) table.append(barRow(name, value / most, format(value), name === face.label));
  return make("div", {}, make("h3", { "aria-hidden": "true" }, title), table);
}

// ---------------------------------------------------------------------- moving

async function show(focus = false) {
  find("one").hidden = !single;
  grid.hidden = single;
  find("view").firstElementChild.textContent = single ? "Grid" : "One face";
  if (single) return showOne();
  layout();
  const cell = cells.get(place);
  if (!focus || !cell) return;
  cell.firstChild.focus({ preventScroll: true });
  const box = cell.getBoundingClientRect(), top = document.querySelector("header").getBoundingClientRect().bottom;
  const bottom = find("bar").getBoundingClientRect().top;
  if (box.top < top) scrollBy(0, box.top - Math.max(top, 0) - 8);
  else if (box.top + HEIGHT > bottom) scrollBy(0, box.top + HEIGHT - bottom + 8);
  layout();
}

/** Goes to a place of the list, in one view or the other. */
async function go(where, open = single) {
  if (!rows.length) return;
  if (where !== place) pick([]);
  place = Math.max(0, Math.min(rows.length - 1, where));
  const changed = open !== single;
  single = open;
  await show(true);
  if (changed && single) {
    status.scrollIntoView();
    find("name").focus({ preventScroll: true });
  }
}

function pick(names) {
  picked = names;
  for (const button of buttons) button.setAttribute("aria-pressed", picked.includes(button.dataset.answer));
  find("save").disabled = !picked.length;
}

/** Returns the picked answers and one more; an answer that is no class stands alone. */
function together(button) {
  const name = button.dataset.answer, classes = picked.filter((one) => buttons.some((other) => other.dataset.answer === one && "class" in other.dataset));
  return "class" in button.dataset ? [...new Set([...classes, name])] : [name];
}

const toggle = (button) => pick(picked.includes(button.dataset.answer) ? picked.filter((one) => one !== button.dataset.answer) : together(button));

// ---------------------------------------------------------------------- deciding

function took(answer) {
  progress(answer);
  const state = answer.face, row = state.row;
  if (known.has(row)) known.set(row, { ...known.get(row), ...state });
  if (opened.has(row)) opened.set(row, opened.get(row).then((face) => ({ ...face, ...state })));
  for (const where of cells.keys()) if (rows[where] === row) draw(where);
}

/** Shows the next face while the decision is written; what could not be kept comes back with what was chosen. */
async function decide(how, to) {
  if (!rows.length) return;
  const where = place, why = find("why").value, isLast = place + 1 === rows.length;
  const face = known.get(rows[where]) ?? (await about(rows[where]));
  const saving = ask("decide", { sample: face.sample, to, how, why: why.trim() });
  find("why").value = "";
  pick([]);
  const [answer] = await Promise.allSettled([saving, isLast ? null : go(where + 1)]);
  if (answer.status === "rejected") {
    await go(where);
    find("why").value = why;
    pick(to);
    throw answer.reason;
  }
  took(answer.value);
  if (isLast) await show(true);
  const { mine, conflict } = answer.value.face;
  tell(`Saved: ${said(mine)}${conflict ? "; people differ on it" : ""}. ${isLast ? "That was the last face of this list." : `Now face ${place + 1}.`}`);
}

async function undo() {
  const answer = await ask("undo", {});
  if (!answer.face) return tell("You have decided nothing that could be taken back.");
  took(answer);
  const where = rows.indexOf(answer.face.row);
  if (where >= 0) await go(where);
  tell(`Taken back${where >= 0 ? `: face ${where + 1}` : ": a face that this list does not show"}.`);
}

async function toggleModel() {
  model = !model;
  find("model").setAttribute("aria-pressed", model);
  opened.clear();
  if (model && !single) await go(place, true);
  else await show();
}

// ---------------------------------------------------------------------- keys and buttons

const actions = {
  u: () => decide("unsure", picked), x: () => decide("skip", []), z: undo, m: toggleModel,
  n: () => go(place + 1), p: () => go(place - 1), g: () => go(place, !single),
  ArrowRight: () => go(place + 1), ArrowLeft: () => go(place - 1),
  ArrowDown: () => go(place + columns), ArrowUp: () => go(place - columns),
  c: () => find("why").focus(), "?": () => { find("help").open = !find("help").open; find("help").scrollIntoView({ block: "center" }); },
};

document.addEventListener("keydown", (event) => {
  const { target, key } = event, typing = target.matches("input:not([type=checkbox]), select");
  if (event.altKey || event.metaKey || (event.ctrlKey && key !== "z")) return;
  if (typing) {
    if (key === "Escape" || (key === "Enter" && target.id === "why")) { target.blur(); event.preventDefault(); }
    return;
  }
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
  const button = buttons.find((one) => one.dataset.key && one.dataset.key === (digit ?? key.toLowerCase()));
  let action = null;
  if (button && find("keys").checked) action = event.shiftKey ? () => toggle(button) : () => decide("sure", together(button));
  else if (key === "Enter" && !target.matches("button:not(.cell), summary")) action = picked.length ? () => decide("sure", picked) : single ? null : () => go(place, true);
  else if (key === "Escape" && single) action = () => go(place, false);
  else if ((key.length > 1 || find("keys").checked) && Object.hasOwn(actions, key)) {
    if (single && /^Arrow(Up|Down)$/.test(key)) return; // scrolls
    action = actions[key];
  }
  if (!action) return;
  event.preventDefault();
  act(action);
});

for (const button of buttons) button.addEventListener("click", () => toggle(button));
for (const [id, action] of [["save", () => decide("sure", picked)], ["unsure", actions.u], ["skip", actions.x], ["undo", undo], ["model", toggleModel], ["view", actions.g]]) {
  find(id).addEventListener("click", () => act(action));
}
filters.addEventListener("change", () => act(list));
filters.addEventListener("submit", (event) => event.preventDefault());
find("which").open = innerWidth > 640;
addEventListener("scroll", () => requestAnimationFrame(layout), { passive: true });
addEventListener("resize", () => requestAnimationFrame(layout));
act(list);
