// The list of requests: thousands of them, of which only those in sight are in the document.

import { byId, durationOf, element, many, moneyOf, plural, statusOf, timeOf } from "./dom.js";

const BEYOND = 8; // rows above and below those in sight
const CELLS = {
  number: (row) => String(row.number),
  time: (row) => timeOf(row.at),
  operation: (row) => row.operation ?? `${row.method} ${row.path}`,
  status: statusOf,
  fault: (row) => row.fault ?? "",
  money: moneyOf,
  key: (row) => row.key_text ?? "",
  ms: (row) => durationOf(row.ms),
};

export class List {
  // rows: those that the page holds, in order. open: called with a request to be read.
  constructor(rows, open) {
    this.rows = rows;
    this.source = rows; // a copy while it is paused
    this.shown = [];
    this.seenUpTo = 0; // how much of the source was looked at
    this.following = true;
    this.active = null; // number of the row that keys move from
    this.opened = null;
    this.open = open;
    this.grid = byId("grid");
    this.body = byId("rows");
    this.pool = [];
    this.dirty = false;
    this.grid.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => this.clicked(event));
    for (const id of ["text", "operation", "status", "wrong"]) {
      byId(id).addEventListener("input", () => this.refilter());
    }
    byId("newest").addEventListener("click", () => { this.follow(); this.grid.focus(); });
    byId("pause").addEventListener("click", () => this.pause());
    new ResizeObserver(() => this.draw()).observe(this.grid);
  }

  get paused() { return this.source !== this.rows; }

  pause() {
    this.source = this.paused ? this.rows : this.rows.slice();
    byId("pause").setAttribute("aria-pressed", String(this.paused));
    byId("pause").textContent = this.paused ? "Resume" : "Pause";
    document.body.classList.toggle("paused", this.paused);
    this.refilter();
  }

  // After a reset: the numbers begin again, so that even a paused list holds nothing of before.
  forget() {
    if (this.paused) this.source = [];
    this.active = null;
    this.refilter();
  }

  // Take notice of rows that came, or (again) of all, where some of them changed or went.
  changed(again) {
    const filtered = this.filter() !== null;
    if (!this.paused) {
      if (again === "gone" || (again === "other" && filtered)) return this.refilter(true);
      this.take(filtered ? this.filter() : null);
    }
    this.draw();
  }

  // Choose the rows anew; where asked to, what stands at the top stays there.
  refilter(stay = false) {
    const { grid, height } = this;
    const top = this.shown[Math.floor(grid.scrollTop / height)];
    this.shown = [];
    this.seenUpTo = 0;
    this.take(this.filter());
    if (stay && top && !this.following) {
      const at = this.shown.findIndex((row) => row.number >= top.number);
      grid.scrollTop = at * height + (grid.scrollTop % height);
    }
    this.draw();
  }

  take(test) {
    for (; this.seenUpTo < this.source.length; this.seenUpTo += 1) {
      const row = this.source[this.seenUpTo];
      if (test === null || test(row)) this.shown.push(row);
    }
  }

  // Return what tells whether a row is wanted; null where all are.
  filter() {
    const words = byId("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const operation = byId("operation").value;
    const status = byId("status").value;
    const wrong = byId("wrong").checked;
    if (!words.length && !operation && !status && !wrong) return null;
    return (row) =>
      (!wrong || row.wrong)
      && (!operation || (row.operation ?? "none") === operation)
      && (!status || (status === "none"
        ? row.ending !== null && row.status === null
        : row.status !== null && String(row.status)[0] === status))
      && words.every((word) => textOf(row).includes(word));
  }

  clearFilters() {
    for (const id of ["text", "operation", "status"]) byId(id).value = "";
    byId("wrong").checked = false;
    byId("text").focus(); // the button goes
    this.refilter();
  }

  get height() { return parseFloat(getComputedStyle(this.body).getPropertyValue("--row")); }

  scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.grid;
    this.following = scrollTop + clientHeight >= scrollHeight - 4;
    this.draw();
  }

  follow() {
    this.following = true;
    this.active = this.shown.at(-1)?.number ?? null;
    this.draw();
  }

  draw() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => { this.dirty = false; this.paint(); });
  }

  paint() {
    const { shown, grid, body } = this;
    const height = this.height;
    body.style.height = `${shown.length * height}px`;
    if (this.following) grid.scrollTop = grid.scrollHeight;
    const first = Math.max(0, Math.floor(grid.scrollTop / height) - BEYOND);
    const last = Math.min(shown.length, Math.ceil((grid.scrollTop + grid.clientHeight) / height) + BEYOND);
    while (this.pool.length < last - first) this.pool.push(this.newRow());
    while (this.pool.length > Math.max(0, last - first)) this.pool.pop().remove();
    // Each row keeps its element while it is in sight.
    const size = this.pool.length;
    for (let at = first; at < last; at += 1) this.fill(this.pool[at % size], shown[at], at, height);
    grid.setAttribute("aria-rowcount", String(shown.length + 1));
    const active = byId(`row-${this.active}`);
    if (active) grid.setAttribute("aria-activedescendant", active.id);
    else grid.removeAttribute("aria-activedescendant");
    this.say();
  }

  newRow() {
    const made = element("div", { role: "row", className: "row" });
    for (const name of Object.keys(CELLS)) {
      made.append(element("span", { role: "gridcell", className: name }));
    }
    this.body.append(made);
    return made;
  }

  fill(made, row, at, height) {
    made.style.transform = `translateY(${at * height}px)`;
    made.setAttribute("aria-rowindex", String(at + 2));
    made.classList.toggle("active", row.number === this.active);
    made.setAttribute("aria-selected", String(row.number === this.opened));
    if (made.row === row && made.version === row.version) return;
    made.row = row;
    made.version = row.version;
    made.id = `row-${row.number}`;
    made.dataset.money = row.money ?? (row.ending === null ? "under-way" : "none");
    made.dataset.wrong = String(row.wrong);
    let cell = made.firstElementChild;
    for (const text of Object.values(CELLS)) {
      cell.textContent = text(row);
      cell = cell.nextElementSibling;
    }
  }

  // Say how many there are, and what is not to be seen.
  say() {
    const all = this.source.length;
    const waiting = this.paused ? this.rows.length && this.rows.at(-1).number - (this.source.at(-1)?.number ?? 0) : 0;
    let said = this.shown.length === all ? plural(all, "request") : `${many(this.shown.length)} of ${plural(all, "request")}`;
    if (this.paused) said += `, paused, ${many(waiting)} more since`;
    if (byId("shown").textContent !== said) byId("shown").textContent = said;
    byId("newest").hidden = this.following || this.grid.scrollHeight <= this.grid.clientHeight;
    byId("empty").hidden = this.shown.length > 0;
    if (!this.shown.length) this.sayEmpty(all);
  }

  sayEmpty(all) {
    const about = all ? "filtered" : "none";
    if (byId("empty").dataset.about === about) return;
    byId("empty").dataset.about = about;
    if (all) {
      const clear = element("button", { type: "button" }, "Clear the filters");
      clear.addEventListener("click", () => this.clearFilters());
      byId("empty").replaceChildren(element("p", {}, "No request matches the filters."), clear);
      return;
    }
    const url = location.origin;
    byId("empty").replaceChildren(
      element("h2", {}, "Nothing has arrived yet"),
      element("p", {}, "Requests show up here the moment they arrive. Send some:"),
      element("pre", { tabIndex: 0 }, `CAREVALIDATE_API_KEY=test carevalidate confirm FILE --base-url ${url}`),
      element("pre", { tabIndex: 0 }, `CareValidate("test", base_url="${url}")`),
    );
  }

  clicked(event) {
    const row = event.target.closest(".row")?.row;
    if (row) this.go(row.number, true);
  }

  // Make a request the active one, and open it where asked to.
  go(number, open) {
    this.active = number;
    const at = this.shown.findIndex((row) => row.number === number);
    const { grid } = this;
    const height = this.height;
    const head = this.body.offsetTop;
    if (at >= 0) {
      if (at * height < grid.scrollTop) grid.scrollTop = at * height;
      else if ((at + 1) * height + head > grid.scrollTop + grid.clientHeight) {
        grid.scrollTop = (at + 1) * height + head - grid.clientHeight;
      }
      this.following = at === this.shown.length - 1 && this.following;
    }
    this.draw();
    if (open) this.open(number);
  }

  move(step) {
    const { shown } = this;
    if (!shown.length) return;
    const at = shown.findIndex((row) => row.number === this.active);
    // Without an active one, from the end that the step leads away from.
    const from = at < 0 && step === -1 ? shown.length : at;
    const row = shown[Math.min(shown.length - 1, Math.max(0, from + step))];
    this.go(row.number, this.opened !== null);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.grid.clientHeight / this.height) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity };
    if (event.key in moves) this.move(moves[event.key]);
    else if (event.key === "End") this.follow();
    else if (event.key === "Enter" && this.active !== null) this.open(this.active);
    else return;
    event.preventDefault();
  }
}

function textOf(row) {
  if (row.textVersion !== row.version) {
    row.text = `#${row.number} ${row.method} ${row.path} ${Object.values(CELLS).map((text) => text(row)).join(" ")}`.toLowerCase();
    row.textVersion = row.version;
  }
  return row.text;
}
