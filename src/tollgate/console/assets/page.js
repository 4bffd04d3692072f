// What makes pages nicer where scripts run: a theme of one's own, copying, and the language last looked at.
// Everything works without it.
"use strict";

const remembered = {
  get(name) { try { return localStorage.getItem(name); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(name, value); } catch { /* not allowed here: forgotten */ } },
};

const root = document.documentElement;
if (["light", "dark"].includes(remembered.get("theme"))) root.dataset.theme = remembered.get("theme");

document.addEventListener("DOMContentLoaded", () => {
  offerThemes(document.getElementById("theme"));
  document.querySelectorAll("button[data-copies]").forEach(offerCopying);
  rememberLanguage(document.querySelectorAll("input[name=language]"));
});

function offerThemes(button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
    remembered.set("theme", root.dataset.theme);
  });
}

function offerCopying(button) {
  if (!navigator.clipboard) return; // browsers have it on https and on this very machine
  const label = button.firstChild;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
    label.data = "Copied";
    setTimeout(() => { label.data = "Copy"; }, 1500);
  });
}

function rememberLanguage(tabs) {
  for (const tab of tabs) {
    if (tab.value === remembered.get("language")) tab.checked = true;
    tab.addEventListener("change", () => remembered.set("language", tab.value));
  }
}
