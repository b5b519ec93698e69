// Helps of all parts. Whatever comes from a request is put in as text, never as markup.

export const byId = (id) => document.getElementById(id);

// Return an element: properties by name, attributes that are no properties by "aria-…" or "role".
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && !name.startsWith("aria")) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Ask the sandbox; throw an error that can be shown where it does not do it.
export async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(`/_sandbox/${path}`, options);
  } catch {
    throw new Error("The sandbox does not answer; is it still running?");
  }
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ?? `The sandbox answered ${answer.status}.`);
  return told;
}

let toastTimer;
// Say something once, to eyes and to screen readers.
export function toast(text) {
  byId("toast").textContent = text;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { byId("toast").textContent = ""; }, 4000);
}

const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});
export const timeOf = (at) => clock.format(at);
export const many = (number) => number.toLocaleString("en-US");
export const plural = (number, one, more = `${one}s`) => `${many(number)} ${number === 1 ? one : more}`;

export function durationOf(ms) {
  if (ms === null) return "…";
  if (ms < 0.1) return "< 0.1 ms";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export const MONEY = {
  "recorded": "recorded",
  "recorded-unseen": "recorded, client unsure",
  "replayed": "replayed key",
  "replayed-unseen": "replayed key, client unsure",
  "rejected": "rejected",
  "unrecorded-unseen": "not recorded, client unsure",
  "recorded-denied": "recorded, client told no",
  "replayed-denied": "replayed key, client told no",
  "unrecorded-claimed": "not recorded, client told yes",
};
export function moneyOf(row) {
  if (row.money) return MONEY[row.money];
  return row.ending === null ? "under way" : "no operation";
}

// What stands where a status would.
export function statusOf(row) {
  if (row.ending === "cut") return `${row.status} cut`;
  if (row.ending === "reset") return "reset";
  if (row.ending === "gone") return "hung up";
  return row.status === null ? "…" : String(row.status);
}
