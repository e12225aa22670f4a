// What the page was given, and its pictures, which stay packed until they come into view.

const payload = JSON.parse(byId("payload").textContent);
const { models, images } = payload;
const isPair = models.length === 2;
const queryCount = models[0].queries.length;

const queryOfImage = new Map(models[0].queries.map((query, place) => [query.image, place]));
const activationOf = new Map(payload.activations.map((each) => [`${each.model}:${each.image}`, each.picture]));

const imageOf = (query) => images[models[0].queries[query].image];
const cameraName = (camera) => (camera < 0 ? "" : `camid ${camera}`);
const cameras = [...new Set(models[0].queries.map(({ image }) => images[image][2]))].filter((each) => each >= 0);
cameras.sort((a, b) => a - b);

// The script runs before the browser has read the pictures, which come after it: figures need not wait for them.
const parsed = new Promise((resolve) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve, { once: true });
  else resolve();
});

/** Base64 of many pictures in script elements that are no scripts, a picture a line. */
class Pictures {
  static perBlock = Number(document.documentElement.dataset.perBlock);

  constructor(kind) {
    this.kind = kind;
  }

  /** What an image shows; empty for a picture that there is not. */
  async source(index) {
    await parsed;
    this.blocks ??= document.querySelectorAll(`script[data-pictures="${this.kind}"]`);
    const lines = this.blocks[Math.floor(index / Pictures.perBlock)].textContent.split("\n");
    const picture = lines[index % Pictures.perBlock];
    return picture && `data:image/jpeg;base64,${picture}`;
  }
}

const thumbnails = new Pictures("thumbnails");
const activationPictures = new Pictures("activations");

async function load(img, pictures, index) {
  const source = await pictures.source(index);
  if (source) img.src = source;
  else img.replaceWith(make("span", { class: "missing", role: "img", "aria-label": img.alt }, "no picture"));
}

/** A picture that is unpacked at once: for places that are made only when they are looked at. */
function picture(pictures, index, alt) {
  const img = make("img", { alt, decoding: "async" });
  load(img, pictures, index);
  return img;
}

const whenNear = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      whenNear.unobserve(target);
      load(target, target.pictures, target.index);
    }
  },
  { rootMargin: "50% 0px" },
);

/** A picture that is unpacked when it is about to be seen. */
function latePicture(pictures, index, alt) {
  const img = Object.assign(make("img", { alt, decoding: "async" }), { pictures, index });
  whenNear.observe(img);
  return img;
}

/** Tiles of one size for the whole page, of the usual shape of its images and about the same area whatever the shape. */
function setTileSize() {
  const aspect = Math.min(2, Math.max(0.4, Number(document.documentElement.dataset.aspect)));
  const style = document.documentElement.style;
  style.setProperty("--tile-width", `${Math.round(92 * Math.sqrt(aspect))}px`);
  style.setProperty("--tile-height", `${Math.round(92 / Math.sqrt(aspect))}px`);
  style.setProperty("--strips", models.length);
}
