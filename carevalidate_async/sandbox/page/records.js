// What is on record, and the keys: which requests carried them, and which of those recorded.

import { ask, byId, element, moneyOf, plural, timeOf } from "./dom.js";

const PAUSE = 1000; // milliseconds between two looks
const MOST_KEYS = 200;
const MOST_LINKS = 20; // of one key

export class Records {
  // rows: those that the page holds. go: called with the number of a request to read.
  constructor(rows, go) {
    this.rows = rows;
    this.go = go;
    this.place = byId("records");
    this.wanted = false;
    this.busy = false;
    this.counts = null;
  }

  // Look again, soon, where it is in sight.
  changed(counts) {
    if (counts) this.counts = counts;
    this.wanted = true;
    if (!this.busy && !this.place.hidden) this.look();
  }

  async look() {
    this.busy = true;
    this.wanted = false;
    try {
      this.show(await ask("records"));
    } catch (error) {
      this.place.replaceChildren(element("p", { className: "notice" }, error.message));
    }
    setTimeout(() => {
      this.busy = false;
      if (this.wanted && !this.place.hidden) this.look();
    }, PAUSE);
  }

  show({ total, payments }) {
    const focused = document.activeElement?.dataset?.request;
    const byKey = new Map();
    for (const row of this.rows) {
      if (row.key === null) continue;
      if (byKey.has(row.key)) byKey.get(row.key).push(row);
      else byKey.set(row.key, [row]);
    }
    const parts = [element("h2", {}, "Payments on record"), this.totals()];
    if (!total) parts.push(element("p", {}, "No payment is on record yet."));
    else {
      if (total > payments.length) parts.push(element("p", { className: "soft" }, `The latest ${payments.length} of ${total}.`));
      const lines = payments.toReversed().map((payment) => [
        timeOf(payment.at), payment.operation, payment.case, payment.amount ?? "", payment.status ?? "",
        element("code", {}, payment.key_text ?? "none"), this.links(byKey.get(payment.key) ?? []),
      ]);
      parts.push(table("payments", "Payments on record, the latest first", ["Time", "Operation", "Case", "Amount", "Status", "Key", "Requests with this key"], lines));
    }
    const held = new Set(payments.map((payment) => payment.key));
    const idle = [...byKey].filter(([key, rows]) => !held.has(key) && !rows.some((row) => /^(recorded|replayed)/.test(row.money ?? "")));
    if (idle.length) {
      parts.push(element("h2", {}, "Keys without a record"));
      const lines = idle.slice(-MOST_KEYS).reverse().map(([, rows]) => [element("code", {}, rows[0].key_text), this.links(rows)]);
      parts.push(table("keys", "Keys that arrived and are not on record, the latest first", ["Key", "Requests with this key"], lines));
    }
    this.place.replaceChildren(...parts);
    if (focused) this.place.querySelector(`[data-request="${focused}"]`)?.focus();
  }

  totals() {
    const counts = this.counts ?? {};
    const list = Object.entries(counts).map(([name, number]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(number))));
    return element("dl", { className: "facts" }, ...list);
  }

  links(rows) {
    if (!rows.length) return element("span", { className: "soft" }, "not kept any more");
    const items = rows.slice(0, MOST_LINKS).map((row) => {
      const button = element("button", { type: "button", className: "link" }, `#${row.number} ${moneyOf(row)}`);
      button.dataset.request = row.number;
      button.addEventListener("click", () => this.go(row.number));
      return element("li", {}, button);
    });
    if (rows.length > MOST_LINKS) items.push(element("li", {}, plural(rows.length - MOST_LINKS, "more request")));
    return element("ul", { className: "same" }, ...items);
  }
}

function table(kind, caption, heads, lines) {
  return element("div", { className: "wide", tabIndex: 0, role: "region", "aria-label": caption },
    element("table", { className: kind },
      element("caption", { className: "unseen" }, caption),
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...lines.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell)))))));
}
