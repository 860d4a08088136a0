"use strict";
(() => {
  const STEP = 50;
  const { classes, systems, clips } = JSON.parse(document.getElementById("data").textContent);
  const rows = clips.map((clip, order) => {
    const [id, truth, own, subject, fold, media, posteriors] = clip;
    return { id, truth, subject, fold, media, posteriors, order, own, sure: posteriors[0][own], margin: posteriors[0][own] - posteriors[0][truth] };
  });
  const columns = [
    ["", null], ["clip", (r) => r.id], ["true", (r) => classes[r.truth]], ["decided", (r) => classes[r.own]],
    ["sure, %", (r) => r.sure], ["subject", (r) => r.subject], ["fold", (r) => r.fold],
    ...systems.map((name, s) => [name, (r) => (r.posteriors[s] ? r.posteriors[s][r.truth] : -1)]),
  ];
  const byId = (id) => document.getElementById(id);
  const body = byId("clips").tBodies[0];
  let sorted = { column: null, down: true }, shown = STEP;

  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const unique = (values) => [...new Set(values)].sort((a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true })));
  const fill = (id, pairs) => {
    const select = byId(id);
    select.append(new Option("any", ""));
    for (const [value, text] of pairs) select.append(new Option(text, value));
    select.addEventListener("change", () => draw(STEP));
  };
  fill("truth", classes.map((c, i) => [i, c]));
  fill("decided", classes.map((c, i) => [i, c]));
  fill("subject", unique(rows.map((r) => r.subject)).map((s) => [s, s]));
  fill("fold", unique(rows.map((r) => r.fold)).map((k) => [k, k]));
  byId("text").addEventListener("input", () => draw(STEP));
  byId("wrong").addEventListener("change", () => draw(STEP));
  byId("more").addEventListener("click", () => draw(shown + STEP));
  const set = (values, wrong) => {
    for (const id of ["text", "truth", "decided", "subject", "fold"]) byId(id).value = values[id] ?? "";
    byId("wrong").checked = wrong;
    draw(STEP);
  };
  byId("reset").addEventListener("click", () => set({}, false));
  for (const cell of document.querySelectorAll("button[data-truth]")) {
    cell.addEventListener("click", () => {
      set({ truth: cell.dataset.truth, decided: cell.dataset.decided }, false);
      byId("errors").scrollIntoView();
    });
  }

  const head = byId("clips").tHead.insertRow();
  columns.forEach(([name, key], c) => {
    const cell = head.appendChild(make("th"));
    cell.scope = "col";
    if (!key) return;
    const button = cell.appendChild(make("button", name));
    button.type = "button";
    button.addEventListener("click", () => {
      sorted = { column: c, down: sorted.column === c ? !sorted.down : typeof key(rows[0]) === "number" };
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      draw(STEP);
    });
  });

  const wanted = () => {
    const text = byId("text").value.trim().toLowerCase();
    const is = (id, value) => byId(id).value === "" || byId(id).value === String(value);
    const found = rows.filter((r) =>
      (!byId("wrong").checked || r.own !== r.truth) && is("truth", r.truth) && is("decided", r.own) &&
      is("subject", r.subject) && is("fold", r.fold) &&
      (r.id.toLowerCase().includes(text) || r.subject.toLowerCase().includes(text)));
    if (sorted.column === null) return found;
    const key = columns[sorted.column][1], sign = sorted.down ? -1 : 1;
    const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
    return found.sort((a, b) => sign * compare(key(a), key(b)) || a.order - b.order);
  };

  const bars = (posterior, row) => {
    if (!posterior) return make("span", "–", "soft");
    const best = posterior.indexOf(Math.max(...posterior));
    const chart = make("span", undefined, "bars");
    chart.setAttribute("role", "img");
    chart.title = posterior.map((p, k) => `${classes[k]} ${(p / 10).toFixed(1)} %`).join(", ");
    chart.setAttribute("aria-label", chart.title);
    posterior.forEach((p, k) => {
      const bar = chart.appendChild(make("i", undefined, k === row.truth ? "truth" : k === best ? "decided" : ""));
      bar.style.height = `${Math.max(1, (26 * p) / 1000)}px`;
    });
    return chart;
  };
  const play = (row, line) => {
    const next = line.nextElementSibling;
    if (next && next.dataset.player) return next.remove();
    const cell = make("td");
    cell.colSpan = columns.length;
    const kind = /\.(wav|flac|mp3|ogg|opus|m4a|aac)(#|$)/i.test(row.media) ? "audio" : "video";
    const player = cell.appendChild(make(kind));
    player.controls = true;
    player.preload = "metadata";
    player.addEventListener("error", () => {
      const link = make("a", row.media);
      link.href = row.media;
      cell.replaceChildren(make("span", "cannot be played from here: "), link);
    });
    player.src = row.media;
    const extra = make("tr");
    extra.dataset.player = "yes";
    extra.append(cell);
    line.after(extra);
    player.play().catch(() => {});
  };
  const draw = (count) => {
    const found = wanted();
    shown = count;
    byId("count").textContent = `${found.length} of ${rows.length} clips`;
    byId("more").hidden = found.length <= shown;
    body.replaceChildren();
    for (const row of found.slice(0, shown)) {
      const line = body.insertRow();
      const first = line.insertCell();
      if (row.media) {
        const button = first.appendChild(make("button", "▶", "plain play"));
        button.type = "button";
        button.setAttribute("aria-label", `play ${row.id}`);
        button.addEventListener("click", () => play(row, line));
      }
      line.append(make("td", row.id), make("td", classes[row.truth]));
      line.append(make("td", classes[row.own], row.own === row.truth ? "" : "wrong"));
      line.append(make("td", (row.sure / 10).toFixed(0)), make("td", row.subject), make("td", row.fold));
      for (const posterior of row.posteriors) line.insertCell().append(bars(posterior, row));
    }
  };
  draw(STEP);

  // Paper shows what a reader could unfold.
  const folded = new Set();
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open])")) {
      folded.add(part);
      part.open = true;
    }
  });
  addEventListener("afterprint", () => {
    for (const part of folded) part.open = false;
    folded.clear();
  });
})();
