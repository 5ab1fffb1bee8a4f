"use strict";
// Sends photos to this server and shows what it answers. Text is only ever set as text.

const drop = find("drop"), files = find("files"), results = find("results");
let token = null; // kept here alone, until the page is left
let waiting = []; // photos that were refused for want of a token
let stream = null;

function draw(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// ---------------------------------------------------------------------- asking

async function ask(photos) {
  photos = photos.filter((photo) => photo.type.startsWith("image/") || !photo.type);
  if (!photos.length) return tell("That is no photo.", true);
  results.replaceChildren();
  tell(photos.length > 1 ? `Looking at ${photos.length} photos…` : "Looking at the photo…");
  let faces = 0;
  for (const [place, photo] of photos.entries()) {
    const rows = await predict(photo);
    if (rows === 401) {
      waiting = photos.slice(place);
      find("ask").hidden = false;
      find("token").focus();
      return tell(token ? "This is not the token." : "This server asks for its token.", true);
    }
    if (rows === null) return;
    faces += rows.filter((row) => row.status === "ok").length;
    await show(photo, rows);
  }
  find("ask").hidden = true;
  tell(faces ? `${faces} ${faces > 1 ? "faces" : "face"} found.` : "No face was found. Small, covered or turned faces are easily missed.");
}

/** Returns the rows of one photo, 401, or null after saying what went wrong. */
async function predict(photo) {
  const form = new FormData();
  form.append("files", photo, photo.name || "camera.jpg");
  try {
    const response = await fetch("v1/predict", { method: "POST", body: form, headers: token ? { Authorization: `Bearer ${token}` } : {} });
    if (response.status === 401) return 401;
    const content = await response.json();
    if (response.ok) return content.predictions;
    tell(content.detail, true);
  } catch {
    tell("The server does not answer. Is it still running?", true);
  }
  return null;
}

// ---------------------------------------------------------------------- showing

async function show(photo, rows) {
  const image = make("img");
  image.src = URL.createObjectURL(photo);
  await image.decode().catch(() => {});
  const found = rows.filter((row) => row.status === "ok");
  const name = photo.name || "From the camera";
  image.alt = `${name}: ${found.length ? `${found.length} framed` : "no"} ${found.length === 1 ? "face" : "faces"}`;
  const frames = found.map((row, place) => frame(row.box, place + 1, image));
  const overlay = draw("svg", { viewBox: `0 0 ${image.naturalWidth} ${image.naturalHeight}`, "aria-hidden": "true" }, ...frames);
  const cards = found.map((row, place) => card(row, place + 1, frames[place]));
  const section = make("section", { class: "photo", "aria-label": name }, make("h2", {}, name), make("div", { class: "picture" }, image, overlay));
  section.append(cards.length ? make("ol", { class: "faces" }, ...cards) : make("p", {}, rows[0].problem || "No face was found in this photo."));
  results.append(section);
}

function frame(box, number, image) {
  const [x, y, right, bottom] = box, side = { x, y, width: right - x, height: bottom - y, rx: (right - x) / 20 };
  // 18 pixels of the screen, in those of the photo, which is shown smaller where there is no room.
  const size = 18 * Math.max(1, image.naturalWidth / results.clientWidth, image.naturalHeight / (0.75 * innerHeight));
  const above = y > size * 1.2 ? y - size * 0.3 : y + size;
  const text = draw("text", { x: x + size * 0.1, y: above, "font-size": size }, String(number));
  return draw("g", { class: "frame" }, draw("rect", { ...side, class: "edge" }), draw("rect", side), text);
}

function card(row, number, frame) {
  const probs = Object.entries(row).filter(([key]) => key.startsWith("prob_")).map(([key, value]) => [key.slice(5), value]);
  probs.sort((one, other) => other[1] - one[1]);
  const set = row.label_set || [row.label];
  const table = make("table", {}, make("caption", {}, `Face ${number}: share of people who would give each answer`));
  for (const [name, share] of probs) {
    const percent = share > 0 && share < 0.005 ? "< 1 %" : `${Math.round(100 * share)} %`;
    table.append(barRow(name, share, percent, set.includes(name)));
  }
  const item = make("li", { class: "face", tabindex: "0" }, make("h3", {}, `Face ${number}`), make("p", { class: "words" }, words(row, set)), table);
  for (const [kind, lit] of [["mouseenter", true], ["focus", true], ["mouseleave", false], ["blur", false]]) {
    item.addEventListener(kind, () => frame.classList.toggle("lit", lit));
  }
  return item;
}

/** Returns the label set in words, the most probable first. */
function words(row, set) {
  const list = set.length > 1 ? `${set.slice(0, -1).join(", ")} or ${set.at(-1)}` : set[0];
  return `${list}; ${set.length > 1 ? "people would disagree" : "few people would say otherwise"}${row.tiny ? " (a tiny face: little can be seen)" : ""}`;
}

// ---------------------------------------------------------------------- where photos come from

files.addEventListener("change", () => {
  if (files.files.length) ask([...files.files]);
  files.value = ""; // so that the same photo can be chosen again
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
document.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  ask([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) ask([...event.clipboardData.files]);
});
find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("token").value;
  ask(waiting);
});
find("camera").addEventListener("click", async () => {
  if (stream) {
    stream.getTracks().forEach((track) => track.stop());
    stream = null;
  } else {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: true });
    } catch {
      return tell("There is no camera, or the browser may not use it.", true);
    }
  }
  find("preview").srcObject = stream;
  find("webcam").hidden = !stream;
  find("camera").textContent = stream ? "Stop the camera" : "Use the camera";
  find("camera").setAttribute("aria-expanded", String(Boolean(stream)));
});
find("shoot").addEventListener("click", () => {
  const preview = find("preview"), canvas = make("canvas", { width: preview.videoWidth, height: preview.videoHeight });
  canvas.getContext("2d").drawImage(preview, 0, 0);
  canvas.toBlob((photo) => ask([photo]), "image/jpeg", 0.95);
});
