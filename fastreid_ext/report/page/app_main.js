// The page's head, and the start of everything.

const SECTIONS = [
  ["figures", "Figures"], ["curves", "Curves"], ["queries", "Queries"], ["activations", "Activation maps"],
  ["tsne", "t-SNE"], ["notes", "Notes"],
];

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const matchesDark = () => (state.theme ? state.theme === "dark" : systemIsDark.matches);

function showTheme() {
  document.documentElement.style.colorScheme = state.theme === "dark" || state.theme === "light" ? state.theme : "";
  for (const scatter of scatters) scatter.draw();
}

function toggleTheme() {
  state.theme = matchesDark() ? "light" : "dark";
  writeAddress();
  showTheme();
}

/** The first is shown with the title above it. */
function showSection(id) {
  if (id === SECTIONS[0][0]) scrollTo(0, 0);
  else byId(id).scrollIntoView();
}

function showHead() {
  const { title, dataset, totals } = payload;
  byId("title").textContent = title;
  const { queries, gallery, identities } = totals;
  const listed = queryCount < queries ? ` (${count(queryCount)} listed)` : "";
  byId("subtitle").textContent = joined(
    dataset,
    plural(queries, "query", "queries") + listed,
    plural(identities, "identity", "identities"),
    plural(gallery, "gallery image"),
    payload.folder,
  );
  for (const [id, name] of SECTIONS) {
    if (byId(id).hidden) continue;
    const text = id === "notes" ? plural(payload.notes.length, "note") : name;
    byId("sections").append(make("button", { type: "button", click: () => showSection(id) }, text));
  }
}

function modelCell({ name, metric, ranking, fingerprint }, place) {
  const facts = joined(metric, ranking, fingerprint.slice(0, 12));
  const swatch = isPair ? make("span", { class: "swatch" }) : null;
  return make("th", { scope: "row", class: tone(place) }, swatch, name, make("small", {}, facts));
}

function showFigures() {
  const names = [...new Set(models.flatMap(({ figures }) => Object.keys(figures)))];
  const cell = (value) => make("td", {}, value === undefined ? "\u2013" : value.toFixed(1));
  const rows = models.map((model, place) =>
    make("tr", {}, modelCell(model, place), ...names.map((name) => cell(model.figures[name]))),
  );
  if (isPair) rows.push(differenceRow(names));
  const head = make("tr", {}, make("td"), ...names.map((name) => make("th", { scope: "col" }, name)));
  byId("figures").append(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  byId("figures").hidden = false;
}

function differenceRow(names) {
  const [before, after] = models.map(({ figures }) => figures);
  const cells = names.map((name) => {
    const gained = after[name] - before[name];
    return make("td", {}, Number.isNaN(gained) ? "\u2013" : difference(gained));
  });
  return make("tr", { class: "differences" }, make("th", { scope: "row" }, "Difference"), ...cells);
}

function showNotes() {
  byId("notes").hidden = !payload.notes.length;
  byId("notes").querySelector("ul").append(...payload.notes.map((note) => make("li", {}, note)));
  byId("made").textContent = payload.made;
}

/** Paper gets the first rows: thousands of queries are for the screen. */
function preparePrint() {
  const rows = 48;
  lists.ranked.fillFirst(rows);
  const note = document.querySelector(".print-note");
  note.hidden = selection.ranked.length <= rows;
  note.textContent = `The first ${rows} of ${plural(selection.ranked.length, "query", "queries")}.`;
}

function followAddress() {
  readAddress();
  setFilters();
  showTheme();
  showQueries();
  if (state.query) openQuery(Number(state.query));
  else if (dialog.open) dialog.close();
}

/** What an older browser makes of the style is hard to look at, and no fault of the results. */
function warnOldBrowsers() {
  if (CSS.supports("color", "light-dark(#000, #fff)") && CSS.supports("selector(:has(a))")) return;
  byId("title").before(make("p", { role: "alert" }, "This browser is too old for this page, which needs one of mid 2024 or newer."));
}

function start() {
  warnOldBrowsers();
  readAddress();
  setTileSize();
  showFigures();
  renderCurves();
  startQueries();
  startScatters();
  startActivations();
  showNotes();
  showHead();
  showTheme();
  startKeys();
  dialog.addEventListener("close", queryClosed);
  byId("theme").addEventListener("click", toggleTheme);
  addEventListener("hashchange", followAddress);
  addEventListener("beforeprint", preparePrint);
  addEventListener("afterprint", showQueries);
  systemIsDark.addEventListener("change", showTheme);
  if (state.query) openQuery(Number(state.query));
}

start();
