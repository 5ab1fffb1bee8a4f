// The model of a folder that mien wrote (model.onnx, config.json) on one face, by onnxruntime-web.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // several need headers that a plain file server does not send
const find = (id) => document.getElementById(id);
const config = await (await fetch("config.json")).json();
const session = await ort.InferenceSession.create("model.onnx");
find("words").textContent = "Ready.";

find("file").addEventListener("change", async ({ target }) => {
  const image = await createImageBitmap(target.files[0]);
  const { labels, set } = await answer(image);
  find("words").textContent = `${set.join(" or ")}; ${set.length > 1 ? "people would disagree" : "few people would say otherwise"}`;
  find("shares").replaceChildren(...labels.map(([name, share]) => row(name, share, set.includes(name))));
});

/** Returns the classes with their probabilities, largest first, and the label set: the classes that cannot be ruled out. */
async function answer(image) {
  const side = config.image_size;
  const { logits } = await session.run({ images: new ort.Tensor("uint8", pixels(image, side), [1, config.channels, side, side]) });
  const scaled = Array.from(logits.data, (value) => value / config.temperature);
  const powers = scaled.map((value) => Math.exp(value - Math.max(...scaled)));
  const total = powers.reduce((sum, power) => sum + power);
  const labels = config.classes.map((name, place) => [name, powers[place] / total]).sort((one, other) => other[1] - one[1]);
  const set = labels.filter(([, share], place) => place === 0 || share >= config.threshold).map(([name]) => name);
  return { labels, set };
}

/** Returns the middle square of a picture as the model reads it: grey by ITU-R 601 as in Pillow, or red, green and blue planes. */
function pixels(image, side) {
  const canvas = find("face"), pen = canvas.getContext("2d", { willReadFrequently: true });
  canvas.width = canvas.height = side;
  pen.imageSmoothingQuality = "high";
  const edge = Math.min(image.width, image.height);
  pen.drawImage(image, (image.width - edge) / 2, (image.height - edge) / 2, edge, edge, 0, 0, side, side);
  const { data } = pen.getImageData(0, 0, side, side), plane = side * side;
  const planes = new Uint8Array(config.channels * plane);
  for (let place = 0; place < plane; place++) {
    const [red, green, blue] = data.subarray(4 * place, 4 * place + 3);
    if (config.channels === 1) planes[place] = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
    else [red, green, blue].forEach((value, channel) => { planes[channel * plane + place] = value; });
  }
  return planes;
}

function row(name, share, inside) {
  const line = document.createElement("tr"), bar = document.createElement("meter");
  bar.value = share;
  for (const content of [name, bar, `${Math.round(100 * share)} %`]) line.insertCell().append(content);
  line.className = inside ? "in" : "";
  return line;
}
