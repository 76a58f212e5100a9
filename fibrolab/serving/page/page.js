"use strict";
// The reader's page: sends files to the server that it came from, and shows the answers. Nothing is stored in the browser
// but the token of the server, for as long as the tab is open.

const $ = (id) => document.getElementById(id);
let run = null;

function make(tag, content = "", attributes = {}) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.append(...(Array.isArray(content) ? content : [content]));
  return found;
}

class Refused extends Error {}

async function ask(path, body) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, body ? { method: "POST", body, headers } : { headers });
  } catch {
    throw new Refused("The server does not answer, or stopped reading because the files are too large.");
  }
  if (response.ok) return response;
  if (response.status === 401) {
    sessionStorage.removeItem("token");
    $("wrong").textContent = token ? "This is not the token of the server." : "";
    $("token").hidden = false;
    $("secret").focus();
  }
  const said = await response.json().catch(() => ({}));
  throw new Refused(said.detail || `The server refused the request (${response.status}).`);
}

function say(text, isFault = false) {
  $("status").textContent = text;
  $("status").className = isFault ? "fault" : "";
}

// ---- What the run is

async function start() {
  try {
    run = await (await ask("run")).json();
  } catch (fault) {
    if ($("token").hidden) { $("work").hidden = false; $("drop").hidden = true; say(fault.message, true); }
    return;
  }
  $("token").hidden = true;
  $("name").textContent = run.name || "Staging";
  document.title = `${run.name} – fibrolab`;
  $("footer").textContent += ` Run ${run.run}.`;
  $("accepted").textContent = (run.films ? "Films (MP4, AVI, DICOM)" : "Pictures (PNG, JPEG, TIFF, DICOM)")
    + `, up to ${run.limits.files} files and ${run.limits.megabytes} MiB at once. `
    + "They are sent to this server only.";
  const several = run.inputs.length > 1 || run.clinical.length > 0;
  $("drop").hidden = several;
  if (several) drawSeveral();
  drawFacts();
  $("study").hidden = $("agreement").hidden = !run.study;
  $("work").hidden = $("facts").hidden = false;
}

function drawFacts() {
  if (run.audit) {
    $("audit").className = run.audit.level;
    $("audit").append("Audit of the data: ", make("b", run.audit.word), ". ", run.audit.meaning);
  } else $("audit").textContent = "No audit of the data was recorded.";
  for (const text of run.cautions) $("audit").append(make("p", text));
  const rows = run.metrics.map((row) => make("tr", [
    make("th", `${row.title}, by ${row.level === "samples" ? "picture" : "patient"}`, { scope: "row" }),
    make("td", row.value), make("td", row.interval), make("td", row.baseline || "not known")]));
  const heads = ["Measure", "Value", `${run.level} interval`, "Baseline"].map((text) => make("th", text, { scope: "col" }));
  $("metrics").append(make("caption", "Test samples of the run, with the intervals and baselines of its report."),
    make("thead", make("tr", heads)), make("tbody", rows));
  $("reading").append(...run.reading.map((text) => make("li", text)));
}

function drawSeveral() {
  const form = $("several");
  form.hidden = false;
  for (const name of run.inputs) form.append(fileZone(name));
  for (const name of run.clinical) {
    const value = name === "sex"
      ? make("select", ["", "F", "M"].map((sex) => make("option", sex, { value: sex })), { name })
      : make("input", "", { type: "number", step: "any", name });
    form.append(make("label", [run.needed.includes(name) ? name : `${name} (if known)`, value]));
  }
  form.append(make("button", "Stage this sample"));
}

function fileZone(name) {
  const input = make("input", "", { type: "file", name });
  const none = run.needed.includes(name) ? "No file yet" : "No file yet; it may be left out";
  const chosen = make("small", none);
  const zone = make("label", [input, make("span", [make("b", `Choose the ${name}`), " or drop it here"]), chosen], { class: "zone" });
  input.addEventListener("change", () => { chosen.textContent = input.files[0]?.name || none; });
  droppable(zone, ([file]) => {
    const given = new DataTransfer();
    given.items.add(file);
    input.files = given.files;
    input.dispatchEvent(new Event("change"));
  });
  return zone;
}

function droppable(zone, take) {
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    zone.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) take([...event.dataTransfer.files]);
    });
  }
}

// ---- Requests

function formOf(sample, extra = {}) {
  const form = new FormData();
  for (const file of sample.files) form.append("files", file);
  if (sample.table) form.append("table", new File([sample.table], "samples.csv", { type: "text/csv" }));
  for (const [name, value] of Object.entries(extra)) form.append(name, value);
  return form;
}

async function pictureOf(file) {
  const form = new FormData();
  form.append("file", file);
  return (await ask("pictures", form)).json();
}

async function stageFiles(files) {
  const size = files.reduce((sum, file) => sum + file.size, 0) / 2 ** 20;
  if (files.length > run.limits.files || size > run.limits.megabytes) {
    say(`${files.length} files with ${size.toFixed(0)} MiB are more than the ${run.limits.files} files and `
      + `${run.limits.megabytes} MiB that may be sent at once: choose fewer.`, true);
    return;
  }
  if (document.querySelector("input[name=mode]:checked").value === "reading") return readFiles(files);
  await answer({ files }, files.map((file) => ({ files: [file] })));
}

async function answer(request, samples) {
  $("samples").replaceChildren();
  $("patients").replaceChildren();
  say(`${samples.length === 1 ? "One sample is" : `${samples.length} samples are`} being staged …`);
  let found;
  try {
    found = await (await ask("predict", formOf(request))).json();
  } catch (fault) {
    say(fault.message, true);
    return;
  }
  $("patients").replaceChildren(...found.patients.map(patientCard));
  const failed = found.samples.filter((row) => row.error).length;
  say([`${found.samples.length - failed} of ${found.samples.length} samples have an answer.`, ...found.notes].join(" "));
  found.samples.forEach((row, place) => {
    if (row.error) {
      $("samples").append(make("article", [make("h3", row.sample_id), make("p", row.error, { class: "fault" })], { class: "alone" }));
      return;
    }
    const card = sampleCard(row.sample_id, samples[place]);
    $("samples").append(card.article);
    card.show(row, found.cases);
  });
}

// ---- Cards

function slider(label, most, value, text, changed) {
  const input = make("input", "", { type: "range", min: 0, max: most, value });
  const shown = make("output", text(value));
  const change = () => { shown.textContent = text(Number(input.value)); changed(Number(input.value)); };
  input.addEventListener("input", change);
  changed(value);
  return make("label", [make("span", label), input, shown], { class: "slide" });
}

function sampleCard(name, sample) {
  const picture = make("div", "", { class: "picture" });
  const answerBox = make("div");
  const article = make("article", [make("h3", name), picture, answerBox], { "aria-label": name });
  const ready = showPictures(picture, sample).catch((fault) => picture.append(make("p", fault.message, { class: "fault" })));
  const show = (row, cases, before = []) => {
    answerBox.replaceChildren(...before, ...answerParts(row), ...casesOf(row, cases));
    ready.then(() => addMapButton(picture, sample));
  };
  return { article, answer: answerBox, show };
}

async function showPictures(picture, sample) {
  for (const file of sample.files) {
    const found = await pictureOf(file);
    const image = make("img", "", { alt: `Picture of ${file.name}`, src: found.pictures[0] });
    const figure = make("figure", make("div", image, { class: "view" }));
    if (found.pictures.length > 1) {
      const text = (place) => `${place + 1}/${found.pictures.length}`;
      figure.append(slider("Frame", found.pictures.length - 1, 0, text, (place) => { image.src = found.pictures[place]; }));
      figure.append(make("figcaption", `${found.pictures.length} of the ${found.frames} frames of the film.`));
    }
    picture.append(figure);
  }
}

function addMapButton(picture, sample) {
  const button = make("button", "Show the map of the network", { type: "button", class: "light" });
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const found = await (await ask("map", formOf(sample, sample.reader ? { reader: sample.reader } : {}))).json();
      picture.replaceChildren(...found.branches.map((branch) => mapFigure(found, branch)));
      picture.querySelector("input")?.focus();
    } catch (fault) {
      button.replaceWith(make("p", fault.message, { class: "fault" }));
    }
  });
  picture.append(button);
}

function mapFigure(found, branch) {
  const layer = make("img", "", { src: branch.layer, alt: `${found.method} map over the picture` });
  const view = make("div", [make("img", "", { src: branch.picture, alt: "The picture below the map" }), layer], { class: "view" });
  const opacity = slider("Map", 100, 60, (value) => `${value} %`, (value) => { layer.style.opacity = value / 100; });
  opacity.querySelector("input").setAttribute("aria-label", "Opacity of the map");
  const text = `${branch.title}: ${found.shows}. It does not show where fibrosis is.`;
  return make("figure", [view, opacity, make("figcaption", text)]);
}

function answerParts(row, threshold = "threshold") {
  const parts = [make("p", [row.predicted, " ", make("small", `confidence ${row.confidence.toFixed(2)}`)], { class: "stage" })];
  if (row.prediction_set) {
    const names = run.classes.some((name) => name.includes(" ")) ? row.prediction_set : row.prediction_set.replaceAll(" ", ", ");
    parts.push(make("p", `Prediction set (${(100 * run.coverage).toPrecision(3) * 1} %): ${names}`));
  }
  const bars = make("dl", "", { class: "bars", "aria-label": "Probability of each class" });
  for (const name of run.classes) {
    const fill = make("i");
    fill.style.width = `${100 * row[`p_${name}`]}%`;
    bars.append(make("dt", name), make("div", fill, { class: name === row.predicted ? "track chosen" : "track", "aria-hidden": "true" }),
      make("dd", row[`p_${name}`].toFixed(2)));
  }
  parts.push(bars);
  if (run.end_points.length) parts.push(endPoints(row, threshold));
  const doubts = doubtsOf(row);
  if (doubts.length) parts.push(make("ul", doubts.map((text) => make("li", text)), { class: "doubts", "aria-label": "Doubts" }));
  return parts;
}

function endPoints(row, threshold) {
  const rows = run.end_points.map((point) => {
    const value = point[threshold];
    const decided = value === null ? "no threshold" : row[`${point.name}_positive`] ? "positive" : "negative";
    const limit = value === null ? "" : ` (threshold ${value.toFixed(3)})`;
    return make("tr", [make("th", point.positive, { scope: "row" }), make("td", `${row[point.name].toFixed(3)}${limit}`),
      make("td", make("b", decided))]);
  });
  return make("table", [make("caption", "End points"), make("tbody", rows)], { class: "points" });
}

function doubtsOf(row) {
  const found = [];
  if (row.copy_of) found.push(`A copy or near copy of ${row.copy_of}, which the run learnt from: the answer says nothing about new patients.`);
  if (row.unlike_training) found.push("Unlike the images that the run was trained on: the answer is not to be relied on.");
  if (row.disagreement) found.push(`${Math.round(100 * row.disagreement)} % of the networks disagree.`);
  return found;
}

function casesOf(row, cases) {
  const names = [1, 2, 3].map((rank) => row[`nearest_case_${rank}`]).filter(Boolean);
  if (!names.length) return [];
  const shown = names.map((name) => make("li", [
    ...(cases[name].picture ? [make("img", "", { src: cases[name].picture, alt: `Training picture ${name}, ${cases[name].stage}` })] : []),
    make("b", cases[name].stage), " ", make("small", name)]));
  return [make("h4", `Nearest training cases: patients of ${run.cases_of}`), make("ul", shown, { class: "cases" })];
}

function patientCard(row) {
  const name = `Patient ${row.patient_id}${row.visit_id ? `, visit ${row.visit_id}` : ""}, ${row.n} ${row.n === 1 ? "file" : "files"}`;
  return make("article", [make("h3", name), make("div", answerParts(row, "patient_threshold"))], { class: "patient", "aria-label": name });
}

// ---- The reading study

function readFiles(files) {
  const reader = $("reader").value.trim();
  if (!reader) {
    say("Give the name of the reader first.", true);
    $("reader").focus();
    return;
  }
  say(`${files.length} ${files.length === 1 ? "file" : "files"} to read, by ${reader}. The answer is shown after your stage is kept.`);
  $("patients").replaceChildren();
  $("samples").replaceChildren(...files.map((file, place) => {
    const sample = { files: [file], reader };
    const card = sampleCard(file.name, sample);
    const choices = run.classes.map((name) => make("label",
      [make("input", "", { type: "radio", name: `stage-${place}`, value: name, required: "" }), name]));
    const button = make("button", "Keep my stage");
    const form = make("form", [make("fieldset", [make("legend", `Your stage of ${file.name}`), ...choices], { class: "stages" }), button]);
    form.addEventListener("submit", (event) => { event.preventDefault(); keepReading(form, button, sample, reader, card); });
    card.answer.append(form);
    return card.article;
  }));
}

async function keepReading(form, button, sample, reader, card) {
  const stage = form.querySelector("input:checked").value;
  const body = new FormData();
  body.append("file", sample.files[0]);
  body.append("reader", reader);
  body.append("stage", stage);
  button.disabled = true;
  form.querySelector(".fault")?.remove();
  try {
    const found = await (await ask("readings", body)).json();
    const kept = make("p", ["Your stage: ", make("b", stage), found.answer.predicted === stage ? ", as the network." : "; the network differs."],
      { class: "compare", tabindex: "-1" });
    card.show(found.answer, found.cases, [kept]);
    kept.focus();
    say("Your stage and the answer of the network are kept.");
  } catch (fault) {
    form.append(make("p", fault.message, { class: "fault" }));
    button.disabled = false;
  }
}

const METRICS = { qwk: "Weighted kappa", accuracy: "Equal answers" };
const rounded = (value) => value === null ? "" : value.toFixed(3);

function metricName(name) {
  for (const [start, words] of [["auc_difference_", "Difference of areas, "], ["auc_", "Area under the curve, "]]) {
    if (!name.startsWith(start)) continue;
    const point = run.end_points.find((each) => each.name === name.slice(start.length));
    return words + (point ? point.positive : name.slice(start.length));
  }
  return METRICS[name] || name;
}

async function compare() {
  const form = new FormData();
  if ($("truth").files.length) form.append("truth", $("truth").files[0]);
  let found;
  try {
    found = await (await ask("agreement", form)).json();
  } catch (fault) {
    $("compared").replaceChildren(make("p", fault.message, { class: "fault" }));
    return;
  }
  if (!found.rows.length) {
    $("compared").replaceChildren(make("p", "There are no readings that count yet."), notesOf(found));
    return;
  }
  const heads = ["Reader", "Measure", "Of", "Against", "Value", "95 % interval", "p", "Files"].map((text) => make("th", text, { scope: "col" }));
  const rows = found.rows.map((row) => make("tr", [make("th", row.reader, { scope: "row" }), make("td", metricName(row.metric)),
    make("td", word(row.of)), make("td", word(row.against)), make("td", rounded(row.value)),
    make("td", [row.low === null ? "" : `${rounded(row.low)} to ${rounded(row.high)} `, make("small", row.note)]),
    make("td", row.p === null ? "" : row.p.toPrecision(2)), make("td", String(row.n))]));
  const table = make("table", [make("caption", "p of a difference is two-sided and not corrected for the number of end points."),
    make("thead", make("tr", heads)), make("tbody", rows)]);
  $("compared").replaceChildren(make("div", table, { class: "scroll", tabindex: "0", role: "region", "aria-label": "Agreement" }),
    notesOf(found), curvesOf(found));
}

const word = (name) => ({ reader: "reader", model: "network", truth: "true stages" })[name];
const notesOf = (found) => make("ul", found.notes.map((text) => make("li", text)));

function curvesOf(found) {
  const figures = [];
  for (const [reader, points] of Object.entries(found.curves)) {
    for (const [name, lines] of Object.entries(points)) {
      const point = run.end_points.find((each) => each.name === name);
      figures.push(make("figure", [rocCurve(lines),
        make("figcaption", `${point ? point.positive : name}: network (solid) and ${reader} (dashed).`)]));
    }
  }
  return make("div", figures, { class: "curves" });
}

function rocCurve(lines) {
  const space = "http://www.w3.org/2000/svg";
  const draw = (tag, attributes) => {
    const shape = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
    return shape;
  };
  const svg = draw("svg", { viewBox: "-0.03 -0.03 1.06 1.06", role: "img", "aria-label": "Curves of sensitivity against 1 - specificity" });
  svg.append(draw("line", { class: "chance", x1: 0, y1: 1, x2: 1, y2: 0 }), draw("rect", { class: "frame", x: 0, y: 0, width: 1, height: 1 }));
  for (const [name, corners] of Object.entries(lines)) {
    svg.append(draw("polyline", { class: name, points: corners.map(([x, y]) => `${x},${1 - y}`).join(" ") }));
  }
  return svg;
}

async function save() {
  try {
    const link = make("a", "", { href: URL.createObjectURL(await (await ask("readings.csv")).blob()), download: "readings.csv" });
    link.click();
  } catch (fault) {
    $("compared").replaceChildren(make("p", fault.message, { class: "fault" }));
  }
}

// ---- Events

$("token").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("secret").value);
  start();
});
$("study").addEventListener("submit", (event) => event.preventDefault());
$("study").addEventListener("change", () => {
  $("reader-line").hidden = document.querySelector("input[name=mode]:checked").value !== "reading";
});
$("files").addEventListener("change", async () => {
  const files = [...$("files").files];
  $("files").value = "";
  if (files.length) await stageFiles(files);
});
droppable($("drop"), stageFiles);
$("several").addEventListener("submit", (event) => {
  event.preventDefault();
  const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const files = [], names = [], cells = [];
  for (const input of $("several").querySelectorAll("input, select")) {
    let value = input.value;
    if (value && input.type === "file") {
      const [file] = input.files;
      // Two modalities of a patient may have one file name in two folders.
      const isTaken = files.some((other) => other.name === file.name);
      files.push(isTaken ? new File([file], `${input.name} ${file.name}`) : file);
      value = files.at(-1).name;
    }
    names.push(quoted(input.name));
    cells.push(quoted(value));
  }
  const sample = { files, table: `${names.join()}\n${cells.join()}\n` };
  answer(sample, [sample]);
});
$("compare").addEventListener("click", compare);
$("export").addEventListener("click", save);
start();
