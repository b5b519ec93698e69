// The page: the feed, the tabs, the shortcuts and the theme. Each view is a file of its own.

import { Controls } from "./controls.js";
import { byId, element, many, plural } from "./dom.js";
import { Exchange } from "./exchange.js";
import { List } from "./list.js";
import { Records } from "./records.js";

const SILENCE = 15_000; // milliseconds after which the feed, which says something every 5 s, is dead
const NEWS = 10_000; // milliseconds between two messages to screen readers
const SPARE = 1000; // rows are dropped so many at a time

const rows = []; // in the order in which they arrived
const byNumber = new Map();
let about = { most_rows: 10_000 };
let skipped = 0;

const list = new List(rows, (number) => read(number));
const exchange = new Exchange(rows, (number) => { show("requests"); list.go(number, true); }, () => {
  list.opened = null;
  list.draw();
}, () => list.grid.focus());
const records = new Records(rows, (number) => { show("requests"); list.go(number, true); });
const controls = new Controls();

function read(number) {
  list.opened = number;
  list.active = number;
  list.draw();
  exchange.open(number, { focus: document.activeElement?.closest("#records, #exchange") !== null });
}

// The feed.

let feed;
let mark = "";
let heard = 0;
let patience = 1000;
const news = { arrived: 0, wrong: 0, said: 0 };

function connect() {
  feed?.close();
  feed = new EventSource(`/_sandbox/feed?since=${encodeURIComponent(mark)}`);
  heard = Date.now();
  const on = (name, act) => feed.addEventListener(name, (event) => {
    heard = Date.now();
    patience = 1000;
    connection("live");
    act(JSON.parse(event.data), event);
  });
  on("about", begin);
  on("batch", (batch, event) => { mark = event.lastEventId; take(batch); });
  on("state", changed);
  on("beat", () => {});
  feed.onerror = () => {
    connection("lost");
    // The browser tries again by itself, unless it was refused.
    if (feed.readyState === EventSource.CLOSED) {
      setTimeout(connect, patience);
      patience = Math.min(10_000, patience * 2);
    }
  };
}

setInterval(() => {
  if (Date.now() - heard > SILENCE) {
    connection("lost");
    connect();
  }
}, 2000);

function connection(state) {
  const words = { live: "live", lost: "not connected, trying again" };
  const place = byId("connection");
  if (place.dataset.state === state) return;
  place.dataset.state = state;
  place.textContent = words[state];
}

function begin(told) {
  about = told;
  byId("url").textContent = told.url;
  const chosen = byId("operation");
  for (const name of told.operations) {
    if (![...chosen.options].some((option) => option.value === name)) chosen.append(element("option", { value: name }, name));
  }
  controls.begin(told);
}

function take(batch) {
  let again = null;
  if (batch.fresh) {
    rows.length = 0;
    byNumber.clear();
    skipped = 0;
    exchange.close();
    list.forget();
    again = "gone";
  }
  for (const row of batch.rows) {
    const known = byNumber.get(row.number);
    if (known) {
      Object.assign(known, row, { version: known.version + 1 });
      again ??= "other";
    } else if (rows.length && row.number < rows[0].number) {
      continue; // it was dropped before it ended
    } else {
      row.version = 0;
      rows.push(row);
      byNumber.set(row.number, row);
      news.arrived += 1;
    }
    if (row.wrong && row.ending !== null) news.wrong += 1;
  }
  if (rows.length > about.most_rows + SPARE) {
    const gone = rows.splice(0, rows.length - about.most_rows);
    for (const row of gone) byNumber.delete(row.number);
    again = "gone";
  }
  skipped += batch.skipped;
  byId("skipped").hidden = !skipped;
  byId("skipped").textContent = `${plural(skipped, "request")} not shown: forgotten before this page could show them.`;
  byId("count-requests").textContent = many(batch.received);
  list.changed(again);
  exchange.changed(batch.rows);
  records.changed();
  tell();
}

// Tell screen readers how it goes, seldom enough to be listened to.
function tell() {
  const now = Date.now();
  if (!news.arrived || now - news.said < NEWS) return;
  byId("news").textContent = `${plural(news.arrived, "new request")}, ${many(news.wrong)} went wrong.`;
  Object.assign(news, { arrived: 0, wrong: 0, said: now });
}

function changed(state) {
  byId("count-records").textContent = many(Object.values(state.recorded).reduce((all, one) => all + one, 0));
  const on = Object.keys(state.chances).length + state.script.length + (state.rate_limit === null ? 0 : 1);
  byId("count-faults").textContent = on ? "on" : "off";
  controls.changed(state);
  records.changed(state.recorded);
}

// The tabs.

const VIEWS = ["requests", "records", "faults"];

function show(view, { focus = false } = {}) {
  for (const name of VIEWS) {
    const tab = byId(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === view));
    tab.tabIndex = name === view ? 0 : -1;
    byId(name).hidden = name !== view;
  }
  if (focus) byId(`tab-${view}`).focus();
  if (view === "records") records.changed();
  if (view === "requests") list.draw();
}

byId("tabs").addEventListener("click", (event) => {
  const tab = event.target.closest("[role=tab]");
  if (tab) show(tab.getAttribute("aria-controls"));
});
byId("tabs").addEventListener("keydown", (event) => {
  const at = VIEWS.findIndex((view) => !byId(view).hidden);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: VIEWS.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  show(VIEWS[(to + VIEWS.length) % VIEWS.length], { focus: true });
});

// What is remembered, where the browser lets a page remember anything.

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* it is forgotten with the page */ }
}
function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

const THEMES = ["system", "light", "dark"];
function theme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = `Theme: ${name}`;
  remember("theme", name);
}
const nextTheme = () => theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
theme(THEMES.includes(remembered("theme")) ? remembered("theme") : "system");
byId("theme").addEventListener("click", nextTheme);

// The shortcuts.

byId("help").addEventListener("click", () => byId("shortcuts").showModal());
byId("single-keys").checked = remembered("single-keys") !== "off";
byId("single-keys").addEventListener("change", (event) => remember("single-keys", event.target.checked ? "on" : "off"));

const KEYS = {
  "j": () => { list.grid.focus(); list.move(1); },
  "k": () => { list.grid.focus(); list.move(-1); },
  "/": () => { show("requests"); byId("text").focus(); },
  "w": () => byId("wrong").click(),
  "p": () => list.pause(),
  "c": () => exchange.copy("curl"),
  "y": () => exchange.copy("python"),
  "t": nextTheme,
  "1": () => show("requests", { focus: true }),
  "2": () => show("records", { focus: true }),
  "3": () => show("faults", { focus: true }),
  "?": () => byId("shortcuts").showModal(),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (event.target === byId("text") && byId("text").value) return; // the browser empties it
    exchange.close();
    return;
  }
  const typing = event.target.matches("select, textarea, input:not([type=checkbox], [type=range])");
  if (typing || !byId("single-keys").checked || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});

list.draw();
connect();
