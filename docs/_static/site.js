// What scrolls sideways can be scrolled from the keyboard, and the two side bars have names.
"use strict";
addEventListener("DOMContentLoaded", () => {
  const names = { ".sidebar-drawer": "All pages", ".toc-drawer": "On this page" };
  for (const [selector, name] of Object.entries(names)) {
    document.querySelector(selector)?.setAttribute("aria-label", name);
  }
  // Sphinx writes the parameters of a signature as a list of definitions without terms.
  for (const list of document.querySelectorAll(".sig dl")) {
    const lines = document.createElement("div");
    lines.className = "sig-lines";
    for (const item of [...list.children]) {
      const line = document.createElement("div");
      line.append(...item.childNodes);
      lines.append(line);
    }
    list.replaceWith(lines);
  }
  const look = () => {
    for (const one of document.querySelectorAll("pre, .table-wrapper")) {
      if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
      else one.removeAttribute("tabindex");
    }
  };
  look();
  addEventListener("resize", look);
});
