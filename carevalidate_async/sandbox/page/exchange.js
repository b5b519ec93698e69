// One exchange in full: what was asked, what was answered, and what that means for the money.

import { ask, byId, durationOf, element, many, moneyOf, plural, statusOf, timeOf, toast } from "./dom.js";

const MEANINGS = {
  "recorded": "It is on record, and the answer says so.",
  "recorded-unseen": "It is on record, but the client cannot know",
  "replayed": "Its key was on record already: nothing was recorded again, and the answer says so.",
  "replayed-unseen": "Its key was on record already, but the client cannot know",
  "rejected": "Nothing was recorded, and the answer says so.",
  "unrecorded-unseen": "Nothing was recorded, but the client cannot know",
  "recorded-denied": "It is on record, and the answer says that it is not.",
  "replayed-denied": "Its key was on record already, and the answer says that nothing is.",
  "unrecorded-claimed": "Nothing was recorded, and the answer says that it was.",
};
const MOST_LINKS = 50;
const UNANSWERED = {
  reset: "There was no answer: the connection was reset",
  gone: "There was no answer: the client hung up first",
};

export class Exchange {
  // rows: those that the page holds. go: called with the number of another request to read.
  // leave: called where the focus was within and has to go elsewhere.
  constructor(rows, go, closed, leave) {
    this.rows = rows;
    this.go = go;
    this.closed = closed;
    this.leave = leave;
    this.place = byId("exchange");
    this.number = null;
    this.told = null;
  }

  async open(number, { focus = false } = {}) {
    this.number = number;
    this.told = null;
    let told;
    try {
      told = await ask(`requests/${number}`);
    } catch (error) {
      if (this.number === number) this.show(element("p", {}, `Request ${number}: ${error.message}`));
      return;
    }
    if (this.number !== number) return; // another one was opened meanwhile
    this.told = told;
    this.show(...this.parts(told));
    if (focus) byId("exchange-title").focus();
  }

  // Read it again where it is among the rows that came or changed, or say anew who had its key.
  changed(rows) {
    if (this.number === null) return;
    const { key } = this.told ?? {};
    if (rows.some((row) => row.number === this.number)) this.open(this.number);
    else if (key && rows.some((row) => row.key === key)) this.showSame();
  }

  showSame() {
    const place = byId("same-key");
    const focused = place.contains(document.activeElement) && document.activeElement.dataset.request;
    place.replaceChildren(...this.sameKey(this.told));
    if (focused) place.querySelector(`[data-request="${focused}"]`)?.focus();
  }

  close() {
    if (this.number === null) return;
    this.number = null;
    this.told = null;
    const within = this.place.contains(document.activeElement);
    this.place.hidden = true;
    document.body.classList.remove("reading");
    this.place.replaceChildren();
    this.closed();
    if (within) this.leave();
  }

  show(...parts) {
    const close = element("button", { type: "button", className: "close" }, "Close ", element("kbd", {}, "Esc"));
    close.addEventListener("click", () => this.close());
    const kept = document.activeElement;
    const title = element("h2", { id: "exchange-title", tabIndex: -1 }, this.title());
    const was = this.place.contains(kept);
    this.place.replaceChildren(element("div", { className: "bar" }, title, close), ...parts);
    this.place.hidden = false;
    this.place.scrollTop = 0;
    document.body.classList.add("reading");
    if (was) title.focus(); // what had the focus is gone
  }

  title() {
    const row = this.told?.number === this.number ? this.told : null;
    return `Request ${this.number}${row?.operation ? `: ${row.operation}` : ""}`;
  }

  parts(told) {
    return [
      element("p", { className: "meaning" }, element("span", { className: "chip", "data-money": told.money ?? "none" }, moneyOf(told)), " ", this.meaning(told)),
      facts(told),
      this.copies(told),
      element("h3", {}, "Request"),
      element("pre", {}, told.request.head),
      bodyOf(told.request, "It has no body."),
      element("h3", {}, "Answer"),
      ...this.answer(told),
      element("section", { id: "same-key" }, ...this.sameKey(told)),
      element("p", { className: "soft" }, "Credentials, payment secrets and what is about a person are hidden before they leave the sandbox. Answers also had the headers Date and Server."),
    ];
  }

  meaning(told) {
    if (told.ending === null) return "It is under way.";
    if (told.money?.endsWith("-unseen")) {
      if (told.key) return `${MEANINGS[told.money]}: it has to ask again, with the same key.`;
      return `${MEANINGS[told.money]}${told.operation.startsWith("update") ? "; to ask again is harmless." : ", and there is no key to ask again with."}`;
    }
    if (told.money) return MEANINGS[told.money];
    return "It is none of the vendors' operations.";
  }

  answer(told) {
    if (told.answer === null) {
      if (told.ending === null) return [element("p", {}, "None yet.")];
      const recorded = { recorded: ", after the record", replayed: "", unrecorded: ", before any record" };
      const when = told.operation && told.ending === "reset" ? recorded[told.money.split("-")[0]] : "";
      return [element("p", {}, `${UNANSWERED[told.ending]}${when}.`)];
    }
    const parts = [element("pre", {}, told.answer.head), bodyOf(told.answer, "It has no body.")];
    if (told.answer.cut !== null) {
      parts.push(element("p", { className: "cut" }, `Cut off here: ${many(told.answer.cut)} of ${plural(told.answer.bytes, "byte")} were sent, then the connection was closed.`));
    }
    return parts;
  }

  copies(told) {
    const buttons = element("div", { className: "buttons" });
    for (const [kind, name] of [["curl", "curl"], ["python", "Python"]]) {
      const button = element("button", { type: "button", disabled: told[kind] === null }, `Copy as ${name}`);
      button.addEventListener("click", () => this.copy(kind));
      buttons.append(button);
    }
    if (told.curl === null && told.python === null) return buttons;
    const shown = ["curl", "python"].filter((kind) => told[kind] !== null);
    const texts = element("details", {}, element("summary", {}, "What is copied"),
      element("p", { className: "soft" }, "What is hidden is a placeholder; credentials come from the environment, or are test. The idempotency key is the same, so it is a replay. The first is for a POSIX shell."),
      ...shown.map((kind) => element("pre", { className: kind }, told[kind])));
    return element("div", { className: "copies" }, buttons, texts);
  }

  async copy(kind) {
    const text = this.told?.[kind];
    if (!text) return toast("This request cannot be copied that way.");
    try {
      await navigator.clipboard.writeText(text);
      toast(`Copied as ${kind === "curl" ? "curl" : "Python"}.`);
    } catch {
      toast("The browser does not let this page copy; select the text instead.");
    }
  }

  sameKey(told) {
    if (told.key === null) return [];
    const same = this.rows.filter((row) => row.key === told.key);
    const items = same.slice(0, MOST_LINKS).map((row) => {
      const words = `Request ${row.number}: ${moneyOf(row)}, ${statusOf(row)}`;
      if (row.number === told.number) return element("li", { "aria-current": "true" }, `${words} (this one)`);
      const button = element("button", { type: "button", className: "link" }, words);
      button.dataset.request = row.number;
      button.addEventListener("click", () => this.go(row.number));
      return element("li", {}, button);
    });
    if (same.length > MOST_LINKS) items.push(element("li", {}, plural(same.length - MOST_LINKS, "more request")));
    const said = same.length > 1 ? `${plural(same.length, "request")} carried the same key.` : "No other request carried this key.";
    return [element("h3", {}, "Idempotency key"), element("p", {}, element("code", {}, told.key_text)), element("p", {}, said), element("ul", { className: "same" }, ...items)];
  }
}

function facts(told) {
  const list = [["Arrived", timeOf(told.at)], ["Lasted", durationOf(told.ms)], ["Answer", statusOf(told)], ["Fault", told.fault ?? "none"]];
  return element("dl", { className: "facts" }, ...list.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function bodyOf(part, none) {
  if (part.bytes === 0) return element("p", { className: "soft" }, none);
  if (part.body === null) return element("p", { className: "soft" }, `${plural(part.bytes, "byte")} that are no JSON, or too many, and not shown.`);
  return element("pre", {}, part.body);
}
