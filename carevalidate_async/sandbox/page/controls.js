// The faults: what the next requests meet, what they meet by chance, and how many are admitted.

import { ask, byId, element, plural, toast } from "./dom.js";

export class Controls {
  constructor() {
    this.place = byId("faults");
    this.state = null;
    this.about = null;
    byId("reset-cancel").addEventListener("click", () => byId("resetting").close());
    byId("reset-sure").addEventListener("click", async () => {
      byId("resetting").close();
      await this.send("reset", {}, "Everything is forgotten.");
    });
  }

  begin(about) {
    const again = JSON.stringify(about) === JSON.stringify(this.about);
    this.about = about;
    if (!again) this.build();
  }

  async send(path, body, done) {
    try {
      this.changed(await ask(path, body));
      byId("control-error").textContent = "";
      if (done) toast(done);
      return true;
    } catch (error) {
      byId("control-error").textContent = `Not done: ${error.message}`;
      return false;
    }
  }

  build() {
    this.chances = element("tbody");
    this.place.replaceChildren(
      element("p", { id: "control-error", className: "notice", role: "alert" }),
      element("section", {}, element("h2", {}, "The next requests"), this.scriptForm(), element("div", { id: "script" })),
      element("section", {}, element("h2", {}, "By chance"),
        element("p", { id: "chances-note" }, "How likely a request is to meet each fault, where none is scripted for it."),
        element("table", { className: "chances" },
          element("thead", {}, element("tr", {}, ...["Fault", "What the client sees", "A good request is", "Chance"].map((head) => element("th", { scope: "col" }, head)))),
          this.chances),
        element("div", { className: "buttons" }, this.button("All off", () => this.send("chances", { chances: {} }, "Nothing goes wrong by chance.")), element("p", { id: "chance-sum" }))),
      element("section", {}, element("h2", {}, "Rate limit"), this.rateForm()),
      element("section", {}, element("h2", {}, "Reset"),
        element("p", {}, "Forgets what arrived, what is on record and what is scripted. Chances and the rate limit stay."),
        this.button("Reset…", () => this.confirmReset())),
    );
    if (this.state) this.changed(this.state);
  }

  button(text, act, type = "button") {
    const made = element("button", { type }, text);
    if (act) made.addEventListener("click", act);
    return made;
  }

  scriptForm() {
    const operation = element("select", { id: "script-operation" }, element("option", { value: "" }, "any operation"), ...this.about.operations.map((name) => element("option", { value: name }, name)));
    const fault = element("select", { id: "script-fault" }, ...this.about.faults.map((one) => element("option", { value: one.name }, one.name)));
    const times = element("input", { id: "script-times", type: "number", min: 1, max: this.about.most_scripted, value: 1, required: true });
    const seconds = element("input", { id: "script-seconds", type: "number", min: 0, max: 3600, step: "any", placeholder: "default" });
    const note = element("p", { id: "script-note", className: "soft" });
    const explain = () => {
      const one = this.about.faults.find(({ name }) => name === fault.value);
      note.textContent = `The client sees: ${one.seen}. A good request is ${one.records ? "put on record" : "not put on record"}.`;
    };
    fault.addEventListener("input", explain);
    explain();
    const form = element("form", { className: "fields" },
      element("label", {}, "Operation ", operation), element("label", {}, "Fault ", fault),
      element("label", {}, "Requests ", times), element("label", {}, "Seconds ", seconds), this.button("Script it", null, "submit"), note);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const fields = { operation: operation.value || null, fault: fault.value, times: times.valueAsNumber };
      if (seconds.value) fields.seconds = seconds.valueAsNumber;
      this.send("script", fields, `The next ${plural(fields.times, "request")} will meet ${fault.value}.`);
    });
    return form;
  }

  rateForm() {
    const rate = element("input", { id: "rate", type: "number", min: 0.1, step: "any", placeholder: "no limit" });
    const form = element("form", { className: "fields" }, element("label", {}, "Requests a second ", rate), this.button("Set", null, "submit"),
      this.button("No limit", () => this.send("rate-limit", { rate: null }, "Every request is admitted.")), element("p", { id: "rate-note", className: "soft" }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const value = rate.value ? rate.valueAsNumber : null;
      this.send("rate-limit", { rate: value }, value === null ? "Every request is admitted." : `At most ${value} requests a second.`);
    });
    return form;
  }

  changed(state) {
    this.state = state;
    if (!this.about) return;
    this.showScript(state.script);
    this.showChances(state.chances);
    const rate = byId("rate");
    if (document.activeElement !== rate) rate.value = state.rate_limit ?? "";
    byId("rate-note").textContent = state.rate_limit === null ? "Every request is admitted." : `After a pause ${state.rate_burst} are admitted at once. The rest is answered with 429.`;
  }

  showScript(script) {
    if (!script.length) {
      const focused = byId("script").contains(document.activeElement);
      byId("script").replaceChildren(element("p", { className: "soft" }, "Nothing is scripted."));
      if (focused) byId("script-operation").focus(); // what had the focus is gone
      return;
    }
    const items = script.map(({ operation, faults }) => element("li", {},
      element("strong", {}, operation ?? "any operation"), ": ", faults.map(([label, times]) => (times > 1 ? `${label} × ${times}` : label)).join(", ")));
    if (!byId("script-clear")) {
      const clear = this.button("Clear the script", () => this.send("script/clear", {}, "Nothing is scripted any more."));
      clear.id = "script-clear";
      byId("script").replaceChildren(element("ul", { id: "script-left", "aria-label": "Scripted, and not met yet" }), clear);
    }
    byId("script-left").replaceChildren(...items);
  }

  showChances(chances) {
    const labels = [...new Set([...this.about.by_chance, ...Object.keys(chances)])];
    for (const line of [...this.chances.children]) {
      if (!labels.includes(line.dataset.fault)) line.remove();
    }
    for (const label of labels) {
      const value = Math.round((chances[label] ?? 0) * 10_000) / 100;
      let line = [...this.chances.children].find((one) => one.dataset.fault === label);
      if (!line) this.chances.append((line = this.chanceRow(label)));
      for (const input of line.querySelectorAll("input")) {
        if (document.activeElement !== input || input.type === "range") input.value = value;
      }
      line.classList.toggle("on", value > 0);
    }
    const sum = Object.values(chances).reduce((all, one) => all + one, 0);
    byId("chance-sum").textContent = sum ? `${Math.round(sum * 1000) / 10} % of requests meet a fault by chance.` : "Nothing goes wrong by chance.";
  }

  chanceRow(label) {
    const one = this.about.faults.find(({ name }) => name === label.split("(")[0]);
    const range = element("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": `Chance of ${label}, in percent, slider` });
    const number = element("input", { type: "number", min: 0, max: 100, step: "any", "aria-label": `Chance of ${label}, in percent` });
    range.addEventListener("input", () => { number.value = range.value; });
    for (const input of [range, number]) input.addEventListener("change", () => this.setChance(label, input));
    const line = element("tr", {}, element("th", { scope: "row" }, label.split("(")[0]), element("td", {}, one.seen),
      element("td", {}, one.records ? "recorded" : "not recorded"), element("td", {}, element("span", { className: "chance" }, range, number, element("span", { "aria-hidden": "true" }, "%"))));
    line.dataset.fault = label;
    return line;
  }

  async setChance(label, input) {
    const chances = { ...this.state.chances, [label]: Math.min(1, Math.max(0, (input.valueAsNumber || 0) / 100)) };
    const name = label.split("(")[0];
    if (!(await this.send("chances", { chances }, `${name}: ${input.valueAsNumber || 0} %.`))) {
      input.blur(); // so that what is true is shown again
      this.changed(this.state);
    }
  }

  confirmReset() {
    const { received, recorded } = this.state;
    byId("resetting-what").textContent = `${plural(received, "request")} that arrived and ${plural(recorded.payments, "payment")} on record will be forgotten, with all other records and the script. This cannot be undone.`;
    byId("resetting").showModal();
  }
}
