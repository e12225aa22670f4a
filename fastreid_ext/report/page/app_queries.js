// The list of queries: its filters, its order, and moving in it by keys.

const lists = {};
let selection = { ranked: [], unmatched: [] };

const shownQueries = () => [...selection.ranked, ...selection.unmatched];

function option([value, text]) {
  return make("option", { value }, text);
}

function field(label, ...controls) {
  return make("label", {}, make("span", {}, label), ...controls);
}

function cameraField() {
  if (!cameras.length) return null;
  const options = [["", "all"], ...cameras.map((camera) => [String(camera), String(camera)])];
  return field("camid", make("select", { name: "camera" }, ...options.map(option)));
}

function modelField() {
  if (!isPair) return null;
  return field("By", make("select", { name: "model" }, ...models.map(({ name }, i) => option([String(i), name]))));
}

function apField() {
  const bound = (name, hint) =>
    make("input", { type: "number", name, min: 0, max: 100, step: "any", placeholder: hint, "aria-label": `AP ${name}` });
  const pair = make("span", { class: "range" }, bound("from", "0"), "\u2013", bound("to", "100"));
  return make("div", { class: "field" }, make("span", {}, "AP, %"), pair);
}

function makeFilters() {
  const form = byId("filters");
  const sorts = [...SORTS].map(([name, { label }]) => option([name, label]));
  form.append(
    field("Sort by", make("select", { name: "sort" }, ...sorts)),
    ...[modelField()].filter(Boolean),
    field("pid", make("input", { name: "pid", inputmode: "numeric", placeholder: "12, 40-45", size: 9 })),
    ...[cameraField()].filter(Boolean),
    apField(),
    field("Path has", make("input", { type: "search", name: "text", placeholder: "press /", size: 12 })),
    make("label", { class: "check" }, make("input", { type: "checkbox", name: "failures", value: "1" }), " rank 1 wrong"),
    make("output", { id: "count", "aria-live": "polite" }),
  );
  form.addEventListener("input", readFilters);
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("nothing").querySelector("button").addEventListener("click", resetFilters);
}

function readFilters() {
  const data = new FormData(byId("filters"));
  for (const { name } of byId("filters").elements) if (name) state[name] = data.get(name) ?? "";
  writeAddress();
  showQueries();
}

function resetFilters() {
  const { sort, model, theme } = state;
  Object.assign(state, AT_REST, { sort, model, theme });
  writeAddress();
  setFilters();
  showQueries();
}

/** Sets the controls to what the address says. */
function setFilters() {
  for (const control of byId("filters").elements) {
    if (control.type === "checkbox") control.checked = Boolean(state[control.name]);
    else if (control.name) control.value = state[control.name];
  }
}

function showQueries() {
  selection = select();
  const { ranked, unmatched } = selection;
  lists.ranked.show(ranked);
  lists.unmatched.show(unmatched, ranked.length);
  byId("without-match").hidden = !unmatched.length;
  byId("nothing").hidden = ranked.length + unmatched.length > 0;
  byId("count").textContent = `${count(ranked.length + unmatched.length)} of ${plural(queryCount, "query", "queries")}`;
}

function startQueries() {
  byId("queries").hidden = queryCount === 0;
  lists.ranked = new WindowedList(byId("ranked"), queryRow);
  lists.unmatched = new WindowedList(byId("unmatched"), queryRow);
  makeFilters();
  setFilters();
  showQueries();
}

const listOf = (place) => Object.values(lists).find((list) => list.has(place));

/** Place of the row that has the focus, else of one before the first that can be seen. */
function currentPlace() {
  const focused = document.activeElement.closest(".row");
  if (focused) return Number(focused.dataset.place);
  const top = byId("filters").getBoundingClientRect().bottom;
  const rows = [...document.querySelectorAll("#queries .row")];
  const seen = rows.find((row) => row.getBoundingClientRect().top >= top - 1);
  return seen ? Number(seen.dataset.place) - 1 : -1;
}

function moveFocus(step) {
  const place = Math.max(currentPlace() + step, 0);
  listOf(place)?.focus(place);
}
