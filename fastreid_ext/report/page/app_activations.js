// Where each model looks in some queries, and in what was found for them.

const LOOKED_AT = 3;

/** An image, and beside it the map of each model. */
function lookedAt(image) {
  const looked = models.flatMap(({ name }, model) => {
    const index = activationOf.get(`${model}:${image}`);
    if (index === undefined) return [];
    const swatch = isPair ? make("span", { class: "swatch", title: name }) : null;
    return [make("span", { class: tone(model) }, latePicture(activationPictures, index, `where ${name} looks`), swatch)];
  });
  return make("div", { class: "pictures" }, make("span", {}, latePicture(thumbnails, image, images[image][0])), ...looked);
}

const hasMap = (image) => models.some((_, model) => activationOf.has(`${model}:${image}`));

function lookedAtResult([image, distance, isRight], rank) {
  const [path, pid, camera] = images[image];
  return make(
    "figure",
    { class: `looked ${isRight ? "right" : "wrong"}`, title: `${rank}. ${told(path, pid, camera)}` },
    make("div", { class: "frame" }, lookedAt(image), mark(isRight)),
    make("figcaption", { class: "quiet" }, joined(`${rank}. pid ${pid}`, shortCamera(camera), far(distance))),
  );
}

/** A query, and the first that the first model finds for it. */
function lookedAtQuery(query) {
  const { image, results } = models[0].queries[query];
  const [path, pid, camera] = images[image];
  const opener = make("button", { type: "button", "aria-label": `Open query ${told(path, pid, camera)}`, click: () => openQuery(query) }, lookedAt(image));
  const caption = make("figcaption", { class: "quiet" }, joined(`query, pid ${pid}`, shortCamera(camera), apText(query, 0)));
  const shown = results.slice(0, LOOKED_AT).map((result, i) => [result, i + 1]);
  return make(
    "div",
    { class: "group" },
    make("figure", { class: "looked", title: path }, opener, caption),
    ...shown.filter(([[found]]) => hasMap(found)).map(([result, rank]) => lookedAtResult(result, rank)),
  );
}

function startActivations() {
  const section = byId("activations");
  const queries = [...new Set(payload.activations.map(({ image }) => image))].filter((image) => queryOfImage.has(image));
  section.hidden = !queries.length;
  if (section.hidden) return;
  const sizes = models.filter(({ positions }) => positions).map(({ name, positions }) => named({ name }, positions.join("\u00d7")));
  section.querySelector("p").append(` Maps have ${sizes.join(", ")} positions, and are enlarged.`);
  if (isPair) section.querySelector(".gallery").before(legendOf(models.map(({ name }, place) => ({ name, place }))));
  section.querySelector(".gallery").append(...queries.map((image) => lookedAtQuery(queryOfImage.get(image))));
}
