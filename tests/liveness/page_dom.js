// As much of a browser as the page needs: runs its script on one answer of /status after another, prints what is shown.
"use strict";
const fs = require("node:fs"), vm = require("node:vm");
const [html, answers] = process.argv.slice(2).map((path) => fs.readFileSync(path, "utf8"));
class Element {
  constructor(tag) { this.tag = tag; this.children = []; this.className = ""; this.own = ""; this.classList = new Set(); this.classList.remove = this.classList.delete; }
  appendChild(child) { this.children.push(child); return child; }
  append(text) { if (text instanceof Element) this.children.push(text); else this.own += String(text); }
  replaceChildren(...children) { this.children = children; }
  get firstChild() { return this.children[0]; }
  set textContent(text) { this.own = String(text); }
  get textContent() { return this.own + this.children.map((child) => child.textContent).join(""); }
}
const byId = new Map();
const element = (id) => { if (!byId.has(id)) byId.set(id, new Element("div")); return byId.get(id); };
const document = {
  title: "", hidden: true, body: new Element("body"), getElementById: element, createElement: (tag) => new Element(tag),
  addEventListener() {},
};
const script = /<script>([\s\S]*)<\/script>/.exec(html)[1];
let answer = null;
const context = vm.createContext({
  document, console, performance, AbortSignal, setTimeout() {}, Promise,
  fetch: async () => { if (answer === null) throw new Error("refused"); return { ok: true, json: async () => answer }; },
});
vm.runInContext(script, context);
const rows = (id) => element(id).children.map((row) => ({ kind: row.className, cells: row.children.map((cell) => cell.textContent), marks: row.children.flatMap((cell) => cell.children.map((mark) => mark.className)) }));
(async () => {
  const shown = [];
  for (answer of JSON.parse(answers)) {
    await vm.runInContext("turn()", context);
    shown.push({
      title: document.title, stale: document.body.classList.has("stale"), state: element("state").className,
      summary: element("summary").textContent, trouble: element("trouble").textContent,
      nodes: rows("nodes"), topics: rows("topics"), partitions: rows("partitions"),
    });
  }
  console.log(JSON.stringify(shown));
})();
