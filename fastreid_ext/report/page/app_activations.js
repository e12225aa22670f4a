// The images with activation maps: each image, and beside it where each model looks.

function activationFigure(image, maps) {
  const [path, pid, camera] = images[image];
  const query = queryOfImage.get(image);
  const looked = maps.map(({ model, picture: index }) =>
    make("span", { class: tone(model) }, latePicture(activationPictures, index, `where ${models[model].name} looks`),
      isPair ? make("span", { class: "swatch", title: models[model].name }) : null),
  );
  const pictures = make("div", { class: "pictures" }, make("span", {}, latePicture(thumbnails, image, path)), ...looked);
  const caption = make("figcaption", { class: "quiet" }, factsOf(pid, camera));
  if (query === undefined) return make("figure", { title: path }, pictures, caption);
  const label = `Open query ${told(path, pid, camera)}`;
  const opener = make("button", { type: "button", "aria-label": label, click: () => openQuery(query) }, pictures);
  return make("figure", { title: path }, opener, caption);
}

function startActivations() {
  const maps = new Map();
  for (const each of payload.activations) maps.set(each.image, [...(maps.get(each.image) ?? []), each]);
  const section = byId("activations");
  section.hidden = !maps.size;
  if (isPair) section.querySelector(".gallery").before(legendOf(models.map(({ name }, place) => ({ name, place }))));
  section.querySelector(".gallery").append(...[...maps].map(([image, own]) => activationFigure(image, own)));
}
