// One query large: all that each model finds for it, and where the models look.

const dialog = byId("query");
let openedFrom = null;
let opened = null;

function openQuery(query) {
  opened = query;
  state.query = String(query);
  writeAddress();
  fillDialog(query);
  if (dialog.open) return;
  openedFrom = document.activeElement;
  dialog.showModal();
  dialog.focus();
}

function queryClosed() {
  const place = shownQueries().indexOf(opened);
  opened = null;
  state.query = "";
  writeAddress();
  dialog.replaceChildren();
  if (openedFrom?.closest(".row") || openedFrom === document.body) listOf(place)?.focus(place);
}

function moveInDialog(step) {
  const shown = shownQueries();
  const place = shown.indexOf(opened);
  // A query that the filters hide, opened from elsewhere, has no neighbours.
  const next = place < 0 ? undefined : shown[place + step];
  if (next !== undefined) openQuery(next);
}

/** A picture, and beside it, where there is one, the map of where a model looks; it is shown on request. */
function frames(image, model, alt) {
  const map = activationOf.get(`${model}:${image}`);
  const shown = [picture(thumbnails, image, alt)];
  if (map === undefined) return shown;
  const looked = picture(activationPictures, map, `where ${models[model].name} looks: ${alt}`);
  looked.classList.add("activation");
  return [...shown, looked];
}

async function copyPath(path, button) {
  try {
    await navigator.clipboard.writeText(path);
    button.textContent = "Copied";
  } catch {
    // Without leave to write the clipboard the path is at least selected, for Ctrl+C.
    getSelection().selectAllChildren(dialog.querySelector(".path"));
    button.textContent = "Selected";
  }
}

function dialogHead(query) {
  const [path, pid, camera] = imageOf(query);
  const shown = shownQueries();
  const place = shown.indexOf(query);
  const button = (text, label, click, disabled = false) =>
    make("button", { type: "button", "aria-label": label, title: label, click, disabled }, text);
  const copy = make("button", { type: "button", class: "plain", click: () => copyPath(payload.folder + path, copy) }, "Copy path");
  return make(
    "header",
    {},
    make(
      "div",
      {},
      make("h2", { id: "query-title" }, factsOf(pid, camera)),
      make("p", {}, make("code", { class: "path" }, path), " ", copy),
    ),
    make("span", { class: "quiet" }, place < 0 ? "" : `${count(place + 1)} of ${count(shown.length)}`),
    make(
      "div",
      { class: "buttons" },
      mapsButton(query),
      button("\u2039", "Previous query (k)", () => moveInDialog(-1), place <= 0),
      button("\u203a", "Next query (j)", () => moveInDialog(1), place < 0 || place === shown.length - 1),
      button("\u00d7", "Close (Esc)", () => dialog.close()),
    ),
  );
}

function hasMaps(query) {
  const shown = (row) => [row.image, ...rankedResults(row).map(([[image]]) => image)];
  return models.some((model, place) => shown(model.queries[query]).some((image) => activationOf.has(`${place}:${image}`)));
}

function mapsButton(query) {
  if (!hasMaps(query)) return null;
  const pressed = String(dialog.classList.contains("with-maps"));
  return make("button", { type: "button", class: "maps-button", "aria-pressed": pressed, click: toggleMaps }, "Activation maps");
}

function toggleMaps() {
  const pressed = dialog.classList.toggle("with-maps");
  dialog.querySelector(".maps-button")?.setAttribute("aria-pressed", String(pressed));
}

/** The tiles of the list with more room: map, rank and pid. */
function largeTiles(query, model) {
  const ranked = rankedResults(models[model].queries[query]);
  return tilesOf(query, model, (image, alt) => frames(image, model, alt)).map((shown, i) => {
    const [[image, distance], rank] = ranked[i];
    const [, pid, camera] = images[image];
    const facts = make("span", { class: "quiet" }, joined(`pid ${pid}`, shortCamera(camera)));
    shown.lastChild.replaceChildren(make("span", { class: "rank" }, count(rank)), far(distance), facts);
    return shown;
  });
}

function found(query, model) {
  const { matches } = models[model].queries[query];
  const facts = [apText(query, model), firstText(query, model), plural(matches, "match", "matches") + " in the gallery"];
  return make(
    "section",
    { class: tone(model), "aria-label": models[model].name },
    make("h3", {}, isPair ? make("span", { class: "swatch" }) : null, models[model].name, model ? differenceBadge(query) : null),
    make("p", { class: "quiet" }, joined(...facts)),
    make("div", { class: "tiles" }, ...largeTiles(query, model)),
  );
}

/** The query, and under it where each model looks in it. */
function largePictures(query) {
  const { image } = models[0].queries[query];
  const framed = (shown, caption, ...classes) =>
    make("figure", { class: classes.join(" ") }, make("div", { class: "frame" }, shown), make("figcaption", {}, ...caption));
  const maps = models.flatMap(({ name }, model) => {
    const [, map] = frames(image, model, "query");
    const caption = isPair ? [make("span", { class: "swatch" }), name] : ["where the model looks"];
    return map ? [framed(map, caption, "activation", tone(model))] : [];
  });
  return make("div", { class: "large" }, framed(picture(thumbnails, image, "query"), ["query"]), ...maps);
}

function fillDialog(query) {
  const focused = dialog.contains(document.activeElement) ? document.activeElement.ariaLabel : null;
  dialog.replaceChildren(
    dialogHead(query),
    make(
      "div",
      { class: "body" },
      largePictures(query),
      make("div", { class: "found" }, ...models.map((_, model) => found(query, model))),
    ),
  );
  dialog.scrollTop = 0;
  // The buttons are new ones: whoever is on "next" stays there.
  if (focused) dialog.querySelector(`[aria-label="${focused}"]`)?.focus();
}
