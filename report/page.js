"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);

  // All text of the image goes through here: it is never parsed as HTML.
  function element(tag, className, ...content) {
    const e = document.createElement(tag);
    if (className) e.className = className;
    e.append(...content);
    return e;
  }

  function bytesText(n) {
    if (n < 0) return "-" + bytesText(-n);
    if (n < 1000) return n + " B";
    let value = n / 1000, prefix = 0;
    while (value >= 999.5 && prefix < 5) { value /= 1000; prefix++; }
    return value.toFixed(value < 9.95 ? 1 : 0) + " " + "kMGTPE"[prefix] + "B";
  }
  const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");
  const plural = (n, one, many) => n === 1 ? "1 " + one : grouped(n) + " " + many;
  function percent(part, whole) {
    const n = whole ? 100 * part / whole : 0;
    return (n > 0 && n < 0.1 ? "less than 0.1" : n < 10 ? n.toFixed(1) : n.toFixed(0)) + " %";
  }

  // ---- the map ----

  // Nodes are [name, bytes before, bytes after, category, files, children, note].
  function node(row, parent) {
    const n = { name: row[0], before: row[1], after: row[2], category: row[3], files: row[4], note: row[6] || "", parent };
    n.children = (row[5] || []).map((r) => node(r, n));
    n.by = { before: [], after: [] }; // bytes of each category
    for (const v of ["before", "after"]) {
      if (!n.children.length) n.by[v][n.category] = n[v];
      for (const c of n.children) c.by[v].forEach((b, i) => { n.by[v][i] = (n.by[v][i] || 0) + b; });
    }
    return n;
  }
  const root = node(data.map, null);
  const packages = new Map(data.packages.map((p) => [p[0], p]));
  let view = "after", current = root;
  const size = (n) => n[view];
  const depth = (n) => n.parent ? 1 + depth(n.parent) : 0;

  function path(n) {
    let text = "";
    for (let at = n; at.parent && at.parent.parent; at = at.parent) {
      if (!at.together) text = (at.name.startsWith("/") ? "" : "/") + at.name + text;
    }
    return text;
  }
  function packageOf(n) {
    let at = n;
    while (at.parent && at.parent.parent) at = at.parent;
    return at.parent && !at.together ? at : null;
  }

  // squarify places items with a weight in a rectangle so that their areas are in proportion and their sides alike
  // (Bruls, Huizing and van Wijk, 2000). Items come largest first.
  function squarify(items, x, y, w, h) {
    const placed = [];
    let total = items.reduce((sum, i) => sum + i.weight, 0);
    let at = 0;
    while (at < items.length && total > 0) {
      const side = Math.min(w, h), scale = w * h / total;
      let sum = 0, end = at, best = Infinity;
      while (end < items.length) {
        const next = sum + items[end].weight;
        const thick = next * scale / side;
        const worst = Math.max(thick / (items[end].weight * scale / thick), (items[at].weight * scale / thick) / thick);
        if (end > at && worst > best) break;
        best = worst; sum = next; end++;
      }
      const thick = end === items.length ? (w < h ? h : w) : sum * scale / side;
      let along = 0;
      for (let i = at; i < end; i++) {
        const long = i === end - 1 ? side - along : items[i].weight / sum * side;
        placed.push(w < h ? { item: items[i], x: x + along, y, w: long, h: thick } : { item: items[i], x, y: y + along, w: thick, h: long });
        along += long;
      }
      if (w < h) { y += thick; h -= thick; } else { x += thick; w -= thick; }
      total -= sum;
      at = end;
    }
    return placed;
  }

  // weigh returns the children to draw in an area of so many square pixels: those that would be too small to see and to
  // choose are drawn as one.
  function weigh(n, area, least) {
    const items = n.children.map((c) => ({ node: c, weight: size(c) })).filter((i) => i.weight > 0).sort((a, b) => b.weight - a.weight);
    const total = items.reduce((sum, i) => sum + i.weight, 0);
    let keep = items.length, rest = 0;
    while (keep > 1 && (rest + items[keep - 1].weight) * area / total < least * 2 || keep > 1 && items[keep - 1].weight * area / total < least) {
      rest += items[--keep].weight;
    }
    if (keep === items.length) return items;
    if (items.length - keep === 1 && keep > 1) rest += items[--keep].weight; // one alone would stay as small
    if (items.length - keep < 2) return items;
    const small = items.slice(keep).map((i) => i.node);
    const what = depth(n) === 0 ? "packages" : "files and directories";
    const together = { name: grouped(small.length) + " smaller " + what, before: 0, after: 0, files: 0, note: "", parent: n, children: small,
      together: true, by: small[0].by };
    for (const c of small) { together.before += c.before; together.after += c.after; }
    const at = items.findIndex((i) => i.weight < rest);
    items.length = keep;
    items.splice(at < 0 || at > keep ? keep : at, 0, { node: together, weight: rest });
    return items;
  }

  const map = $("treemap"), tooltip = $("tooltip"), details = $("details");
  // A rectangle has the color of what most of it is.
  function color(n) {
    if (view === "before" && n.after === 0 && data.trimmed) return "gone";
    let best = 0;
    n.by[view].forEach((b, i) => { if (b > (n.by[view][best] || 0)) best = i; });
    return "k" + best;
  }
  const share = (v, whole) => (100 * v / whole).toFixed(4) + "%";

  function place(e, r, w, h) {
    e.style.left = share(r.x, w); e.style.top = share(r.y, h); e.style.width = share(r.w, w); e.style.height = share(r.h, h);
  }

  const least = { cell: 160, inner: 20 };

  function draw() {
    const w = map.clientWidth, h = map.clientHeight;
    const cells = squarify(weigh(current, w * h, least.cell), 0, 0, w, h).map((r, i) => {
      const n = r.item.node;
      const cell = element("button", "cell " + color(n) + (n.children.length ? "" : " file"));
      cell.type = "button";
      cell.node = n;
      cell.tabIndex = i === 0 ? 0 : -1;
      cell.dataset.bytes = size(n);
      place(cell, r, w, h);
      if (r.w > 34 && r.h > 19) cell.append(element("span", "label", element("b", "", n.name), element("i", "", bytesText(size(n)))));
      cell.setAttribute("aria-label", summary(n).join(". "));
      if (n.children.length && r.w > 30 && r.h > 44) {
        const inside = element("span", "inside");
        inside.append(...preview(n, r.w - 6, r.h - 24, 0));
        cell.append(inside);
      }
      return cell;
    });
    map.replaceChildren(...cells);
    map.setAttribute("aria-label", "Map of " + (path(current) || current.name));
    if (!cells.length) map.append(element("p", "", "Nothing of this is in the image after trimming."));
    crumbs();
  }

  // preview draws what is in a cell, as deep as can be told apart.
  function preview(n, w, h, level) {
    if (w < 6 || h < 6) return [];
    return squarify(weigh(n, w * h, least.inner), 0, 0, w, h).map((r) => {
      const c = r.item.node, e = element("span", "inner " + color(c));
      e.node = c;
      place(e, r, w, h);
      const named = r.w > 80 && r.h > 36;
      if (named) e.append(element("span", "label", c.name));
      if (level < 3 && c.children.length && r.w > 24 && r.h > 24) {
        const inside = element("span", named ? "inside" : "inside bare");
        inside.append(...(named ? preview(c, r.w - 6, r.h - 24, level + 1) : preview(c, r.w - 2, r.h - 2, level + 1)));
        e.append(inside);
      }
      return e;
    });
  }

  function crumbs() {
    const trail = [];
    for (let n = current; n; n = n.parent) trail.unshift(n);
    $("crumbs").replaceChildren(...trail.map((n) => {
      const text = n.name + " (" + bytesText(size(n)) + ")";
      if (n === current) {
        const here = element("span", "", text);
        here.setAttribute("aria-current", "location");
        return element("li", "", here);
      }
      const b = element("button", "", text);
      b.type = "button";
      b.addEventListener("click", () => go(n, true));
      return element("li", "", b);
    }));
  }

  function go(n, focus) {
    const from = current;
    current = n;
    draw();
    describe(n === root ? null : n);
    hideTooltip();
    if (!focus) return;
    const cells = [...map.querySelectorAll(".cell")];
    const back = cells.find((c) => c.node === from || (c.node.children || []).includes(from)) || cells[0];
    if (back) focusCell(back);
  }

  // why says in a clause why something is there or not.
  function why(n) {
    if (n.note) return "It comes from " + n.note + ".";
    const p = packageOf(n);
    const row = p && packages.get(p.name);
    if (!row) return "";
    if (!data.trimmed) return row[8];
    if (row[7] && n.before > 0 && n.after === 0) return "Removed from " + row[0] + ", which stays: a rule leaves out what this kind of host never uses.";
    return (row[7] ? "Kept: " : "Removed: ") + row[8];
  }

  function summary(n) {
    const lines = [path(n) || n.name];
    if (data.trimmed && n.before === 0) lines.push(bytesText(n.after) + ", made after trimming");
    else if (data.trimmed && n.before !== n.after) lines.push(bytesText(n.before) + " → " + bytesText(n.after));
    else lines.push(bytesText(n.after));
    if (size(n) > 0) lines[1] += ", " + percent(size(n), size(root)) + " of the image";
    const p = packageOf(n);
    if (p && p !== n && packages.has(p.name)) lines.push("Part of " + p.name);
    const reason = why(n);
    if (reason) lines.push(reason);
    return lines;
  }

  function describe(n) {
    if (!n) {
      details.replaceChildren(element("p", "about", "Point at a rectangle, or move with the arrow keys, to see what it is and why it is there."));
      return;
    }
    const [name, ...rest] = summary(n);
    details.replaceChildren(element("p", "", element("b", "", name)), ...rest.map((l) => element("p", "", l)));
    const p = packageOf(n), row = p && packages.get(p.name);
    if (row && row[9].length > 1) details.append(chain(row[9]));
  }
  const chain = (steps) => element("ol", "", ...steps.map((s) => element("li", "", s)));

  function hideTooltip() { tooltip.hidden = true; }
  map.addEventListener("pointermove", (event) => {
    let e = event.target;
    while (e && e !== map && !e.node) e = e.parentElement;
    if (!e || !e.node) { hideTooltip(); return; }
    const [name, ...rest] = summary(e.node);
    tooltip.replaceChildren(element("p", "", element("b", "", name)), ...rest.map((l) => element("p", "", l)));
    tooltip.hidden = false;
    const box = tooltip.getBoundingClientRect();
    const x = Math.min(event.clientX + 14, window.innerWidth - box.width - 6);
    const y = event.clientY + 18 + box.height > window.innerHeight ? event.clientY - box.height - 10 : event.clientY + 18;
    tooltip.style.left = Math.max(4, x) + "px";
    tooltip.style.top = Math.max(4, y) + "px";
  });
  map.addEventListener("pointerleave", hideTooltip);
  map.addEventListener("click", (event) => {
    const cell = event.target.closest(".cell");
    if (!cell) return;
    if (cell.node.children.length) go(cell.node, event.detail === 0);
    else { describe(cell.node); focusCell(cell); }
  });
  map.addEventListener("focusin", (event) => { if (event.target.node) describe(event.target.node); });

  function focusCell(cell) {
    for (const c of map.querySelectorAll(".cell")) c.tabIndex = c === cell ? 0 : -1;
    cell.focus();
  }
  map.addEventListener("keydown", (event) => {
    const cells = [...map.querySelectorAll(".cell")], at = cells.indexOf(document.activeElement);
    if (event.key === "Escape" || event.key === "Backspace") {
      if (current.parent) { event.preventDefault(); go(current.parent, true); }
      return;
    }
    let next = -1;
    if (event.key === "ArrowRight" || event.key === "ArrowDown") next = Math.min(cells.length - 1, at + 1);
    if (event.key === "ArrowLeft" || event.key === "ArrowUp") next = Math.max(0, at - 1);
    if (event.key === "Home") next = 0;
    if (event.key === "End") next = cells.length - 1;
    if (next >= 0 && cells[next]) { event.preventDefault(); focusCell(cells[next]); }
  });
  for (const input of document.querySelectorAll("input[name=view]")) {
    input.addEventListener("change", () => { view = input.value; legend(); go(current, false); });
  }

  function legend() {
    const items = data.categories.map((name, i) => element("li", "", element("span", "swatch k" + i), name));
    if (view === "before" && data.trimmed) items.push(element("li", "", element("span", "swatch gone"), "removed by trimming"));
    $("legend").replaceChildren(...items);
  }

  let drawn = 0;
  new ResizeObserver(() => {
    if (map.clientWidth && map.clientWidth !== drawn) { drawn = map.clientWidth; draw(); }
  }).observe(map);

  // ---- tables ----

  const text = (v) => String(v);
  const pageRows = 100;

  // table fills a section with a table of rows that can be sorted and filtered. A column is {title, of, kind, show}: of(row)
  // is what it is sorted by, show(row) what is shown.
  function table(id, rows, columns, options) {
    const section = $(id);
    if (!rows.length) { section.remove(); return; }
    const words = rows.map((r) => columns.map((c) => text(c.of(r))).join("\n").toLowerCase());
    let sorted = options.sort, descending = options.descending, all = false, only = "";

    const input = element("input");
    input.type = "search";
    input.placeholder = "Filter " + options.many;
    input.setAttribute("aria-label", "Filter " + options.many);
    const tools = element("div", "tools", input);
    if (options.choices) {
      const select = element("select");
      select.setAttribute("aria-label", "Which " + options.many);
      for (const [value, label] of [["", "All"], ...options.choices.map((c) => [c.name, c.name])]) {
        const o = element("option", "", label);
        o.value = value;
        select.append(o);
      }
      select.addEventListener("change", () => { only = select.value; fill(); });
      tools.append(select);
    }
    const count = element("p", "count");
    count.setAttribute("aria-live", "polite");
    tools.append(count);

    const body = element("tbody"), head = element("tr");
    columns.forEach((c, i) => {
      const b = element("button", "", c.title);
      b.type = "button";
      b.addEventListener("click", () => {
        descending = sorted === i ? !descending : c.kind === "n";
        sorted = i;
        fill();
      });
      const th = element("th", c.kind, b);
      th.scope = "col";
      head.append(th);
    });
    const partly = element("p", "partly"); // for print, where nothing can be chosen
    const more = element("button", "control more");
    more.type = "button";
    more.addEventListener("click", () => { all = true; fill(); });
    input.addEventListener("input", () => { all = false; fill(); });

    function fill() {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const choice = (options.choices || []).find((c) => c.name === only);
      const indexes = rows.map((_, i) => i).filter((i) => wanted.every((w) => words[i].includes(w)) && (!choice || choice.is(rows[i])));
      const of = columns[sorted].of, sign = descending ? -1 : 1;
      indexes.sort((a, b) => {
        const x = of(rows[a]), y = of(rows[b]);
        return (x < y ? -1 : x > y ? 1 : 0) * sign || a - b;
      });
      [...head.children].forEach((th, i) => {
        if (i === sorted) th.setAttribute("aria-sort", descending ? "descending" : "ascending");
        else th.removeAttribute("aria-sort");
      });
      const shown = all ? indexes : indexes.slice(0, pageRows);
      body.replaceChildren(...shown.map((i) => {
        const tr = element("tr");
        columns.forEach((c, j) => {
          const cell = element(j === 0 ? "th" : "td", c.kind, c.show ? c.show(rows[i]) : text(c.of(rows[i])));
          if (j === 0) cell.scope = "row";
          if (c.mark) { const m = c.mark(rows[i]); if (m) cell.classList.add(m); }
          tr.append(cell);
        });
        return tr;
      }));
      let note = indexes.length === rows.length ? plural(rows.length, options.one, options.many) : grouped(indexes.length) + " of " + plural(rows.length, options.one, options.many);
      const sum = (of) => bytesText(indexes.reduce((n, i) => n + of(rows[i]), 0));
      if (options.bytes) note += ", " + (options.before ? sum(options.before) + " → " : "") + sum(options.bytes);
      count.textContent = note;
      more.hidden = shown.length === indexes.length;
      more.textContent = "Show all " + grouped(indexes.length);
      partly.textContent = more.hidden ? "" : "The first " + shown.length + " of " + grouped(indexes.length) + ".";
    }
    const t = element("table", "", element("thead", "", head), body);
    section.append(tools, element("div", "scroll", t), partly, more);
    fill();
  }

  const bytes = (title, i) => ({ title, kind: "n", of: (r) => r[i], show: (r) => bytesText(r[i]) });
  const plain = (title, i, kind) => ({ title, kind: kind || "", of: (r) => r[i] });
  const state = (v) => v || "–";
  function reason(r) {
    if (!r[9] || r[9].length < 2) return r[8];
    return element("details", "", element("summary", "", r[8]), chain(r[9]));
  }
  if (data.trimmed) {
    table("packages", data.packages, [
      plain("Package", 0, "p"), plain("Version", 1), bytes("Before", 3), bytes("After", 4),
      { title: "Files", kind: "n", of: (r) => r[6], show: (r) => r[5] === r[6] ? grouped(r[6]) : grouped(r[5]) + " → " + grouped(r[6]) },
      { title: "Fate", kind: "", of: (r) => r[7] ? "kept" : "removed", mark: (r) => r[7] ? "yes" : "no" },
      { title: "Why", kind: "w", of: (r) => r[8], show: reason },
    ], { one: "package", many: "packages", sort: 3, descending: true, before: (r) => r[3], bytes: (r) => r[4],
      choices: [{ name: "Kept", is: (r) => r[7] }, { name: "Removed", is: (r) => !r[7] }, { name: "Kept, but smaller", is: (r) => r[7] && r[4] < r[3] }] });
  } else {
    table("packages", data.packages, [
      plain("Package", 0, "p"), plain("Version", 1), bytes("Size", 4), { title: "Files", kind: "n", of: (r) => r[6], show: (r) => grouped(r[6]) }, plain("What it is", 8, "w"),
    ], { one: "package", many: "packages", sort: 2, descending: true, bytes: (r) => r[4] });
  }
  table("services", data.services, [
    plain("Unit", 0, "p"), plain("Package", 1),
    { title: "Before", kind: "", of: (r) => state(r[2]) }, { title: "After", kind: "", of: (r) => r[3] || "gone", mark: (r) => r[3] ? "" : "no" }, plain("Why", 4, "w"),
  ], { one: "unit", many: "units", sort: 0, choices: [
    { name: "Kept", is: (r) => r[3] }, { name: "Gone", is: (r) => !r[3] }, { name: "Changed", is: (r) => r[3] && r[2] !== r[3] }, { name: "Enabled", is: (r) => r[3] === "enabled" }] });
  table("removed", data.removed, [
    plain("Path", 0, "p"), { title: "Files", kind: "n", of: (r) => r[1], show: (r) => grouped(r[1]) }, bytes("Size", 2), plain("Package", 3), plain("Why", 4, "w"),
  ], { one: "path", many: "paths", sort: 2, descending: true, bytes: (r) => r[2] });
  table("modules", data.modules, [plain("Path", 0, "p"), bytes("Size", 1), plain("Why", 2, "w")],
    { one: "file", many: "files", sort: 1, descending: true, bytes: (r) => r[1] });
  table("checks", data.checks, [
    { title: "Result", kind: "", of: (r) => r[3], mark: (r) => r[3] === "pass" ? "yes" : r[3] === "fail" ? "no" : "" },
    plain("Severity", 2), plain("Rule", 0), plain("What is checked", 1, "w"), plain("Evidence", 4, "w"),
  ], { one: "rule", many: "rules", sort: 0, choices: [...new Set(data.checks.map((r) => r[3]))].sort().map((v) => ({ name: v, is: (r) => r[3] === v })) });

  // ---- the page ----

  for (const s of document.querySelectorAll("section[data-title]")) {
    const a = element("a", "", s.dataset.title);
    a.href = "#" + s.id;
    $("contents").append(element("li", "", a));
  }
  const theme = $("theme"), dark = window.matchMedia("(prefers-color-scheme: dark)");
  function isDark() { const t = document.documentElement.dataset.theme; return t ? t === "dark" : dark.matches; }
  function nameTheme() { theme.textContent = isDark() ? "Light colors" : "Dark colors"; }
  theme.hidden = false;
  theme.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  dark.addEventListener("change", nameTheme);
  nameTheme();
  legend();
  describe(null);
  draw();
})();
