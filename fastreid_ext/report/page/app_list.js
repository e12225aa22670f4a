// A list of thousands of rows, of which only those around the window are in the page.

class WindowedList {
  static perChunk = 8;

  /** All rows are of one height, `--row-height` of the style; `row(item, place)` makes one. */
  constructor(list, row) {
    Object.assign(this, { list, row, items: [], first: 0 });
    this.observer = new IntersectionObserver(
      (entries) => entries.forEach(({ target, isIntersecting }) => this.fill(target, isIntersecting)),
      { rootMargin: "75% 0px" },
    );
  }

  /** `first` is the place of the first item among all that are shown. */
  show(items, first = 0) {
    Object.assign(this, { items, first });
    this.observer.disconnect();
    const { perChunk } = WindowedList;
    const chunks = Array.from({ length: Math.ceil(items.length / perChunk) }, (_, number) => {
      const chunk = make("li", { class: "chunk", role: "presentation", "data-start": number * perChunk });
      chunk.style.setProperty("--rows", Math.min(perChunk, items.length - number * perChunk));
      return chunk;
    });
    this.list.replaceChildren(...chunks);
    for (const chunk of chunks) this.observer.observe(chunk);
  }

  fill(chunk, isNear) {
    if (isNear === chunk.hasChildNodes()) return;
    const start = Number(chunk.dataset.start);
    const items = isNear ? this.items.slice(start, start + WindowedList.perChunk) : [];
    chunk.replaceChildren(...items.map((item, i) => this.row(item, this.first + start + i)));
  }

  has(place) {
    return place >= this.first && place < this.first + this.items.length;
  }

  focus(place) {
    const inList = place - this.first;
    const chunk = this.list.children[Math.floor(inList / WindowedList.perChunk)];
    this.fill(chunk, true);
    const row = chunk.children[inList % WindowedList.perChunk];
    row.querySelector("button").focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  /** For paper, which shows what is not in the window, too. */
  fillFirst(rows) {
    const chunks = [...this.list.children].slice(0, Math.ceil(rows / WindowedList.perChunk));
    for (const chunk of chunks) this.fill(chunk, true);
  }
}
