"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  // Theme

  const theme = at("#theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const showTheme = () => theme.setAttribute("aria-pressed", String(isDark()));

  function remembered(value) {
    try { // a page that was opened as a file may have no storage
      if (value) localStorage.setItem("bertx-theme", value);
      return localStorage.getItem("bertx-theme");
    } catch {
      return null;
    }
  }

  const before = remembered();
  if (before === "dark" || before === "light") root.dataset.theme = before;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remembered(root.dataset.theme);
    showTheme();
  });
  dark.addEventListener("change", showTheme);
  theme.hidden = false;
  showTheme();

  // Charts: values at a place, lines that can be hidden

  function setUpChart(figure) {
    const places = data.charts[figure.id];
    const picture = at(".plot svg", figure);
    const pointer = at(".pointer", picture);
    const rule = at(".rule", pointer);
    const scrub = at(".scrub", figure);
    const heading = at(".at", figure);
    const values = all(".value", figure);
    const dots = values.map((_, line) => {
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      const look = at(`g.line[data-line="${line}"]`, picture).getAttribute("class");
      dot.setAttribute("class", `dot ${look.replace("line", "")}`);
      dot.setAttribute("r", "3.5");
      pointer.append(dot);
      return dot;
    });

    function read(place) {
      const { x, label, y, values: words } = places[place];
      pointer.setAttribute("visibility", "visible");
      rule.setAttribute("x1", x);
      rule.setAttribute("x2", x);
      dots.forEach((dot, line) => {
        dot.setAttribute("visibility", y[line] === null ? "hidden" : "inherit");
        dot.setAttribute("cx", x);
        dot.setAttribute("cy", y[line] ?? 0);
      });
      values.forEach((value, line) => { value.textContent = words[line]; });
      heading.textContent = label;
      if (scrub) {
        scrub.value = place;
        const shown = all(".entry", figure).filter(isOn);
        const said = shown.map((own) => `${own.dataset.name} ${words[own.dataset.line]}`);
        scrub.setAttribute("aria-valuetext", `${label}: ${said.join(", ")}`);
      }
    }

    function rest() {
      pointer.setAttribute("visibility", "hidden");
      for (const part of [heading, ...values]) part.textContent = part.dataset.rest;
    }

    function nearest(event) {
      const box = picture.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * picture.viewBox.baseVal.width;
      const far = places.map((place) => Math.abs(place.x - x));
      return far.indexOf(Math.min(...far));
    }

    picture.addEventListener("pointermove", (event) => read(nearest(event)));
    picture.addEventListener("pointerdown", (event) => read(nearest(event)));
    picture.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && document.activeElement !== scrub) rest();
    });
    if (scrub) {
      scrub.hidden = false;
      scrub.addEventListener("input", () => read(Number(scrub.value)));
      scrub.addEventListener("focus", () => read(Number(scrub.value)));
      scrub.addEventListener("blur", rest);
    }
    for (const entry of all(".entry", figure)) {
      entry.addEventListener("click", () => switchLines(figure, entry.dataset.name, !isOn(entry)));
    }
  }

  const isOn = (entry) => entry.getAttribute("aria-pressed") === "true";

  function switchLines(figure, name, on) {
    const group = figure.dataset.group;
    for (const chart of all("figure.chart").filter((own) => own.dataset.group === group)) {
      for (const entry of all(".entry", chart).filter((own) => own.dataset.name === name)) {
        entry.setAttribute("aria-pressed", String(on));
        const line = entry.dataset.line;
        at(`g.line[data-line="${line}"]`, chart).classList.toggle("off", !on);
        all(".pointer .dot", chart)[line].classList.toggle("off", !on);
      }
    }
  }

  all("figure.chart").forEach(setUpChart);

  // Heatmaps

  const form = at("#choose");
  if (!form) return;
  const fields = form.elements;
  const texts = at("#texts");
  const more = at("#more");
  const AT_ONCE = 16;
  let limit = AT_ONCE;

  const sheet = () => data.sheets[fields.sheet.value];
  const chosen = () => [fields.method.value, fields.other.value].filter((one) => one !== "")
    .map(Number);
  const target = (text) => (fields.target.value === "" ? text.explained : Number(fields.target.value));
  const sure = (text) => Math.max(...text.p.map((p) => p ?? 0));
  const isRight = (text) => (text.gold === null ? null : text.gold === text.predicted);
  const whole = (text) =>
    text.gaps.map((gap, i) => gap + (text.words[i] ?? "")).join("").toLocaleLowerCase();

  function fill(select, options) {
    const kept = select.value;
    select.replaceChildren(...options.map(([value, name]) => make("option", { value }, name)));
    if (options.some(([value]) => String(value) === kept)) select.value = kept;
  }

  function fillChoices() {
    const { methods, classes } = sheet();
    const names = methods.map((method, i) => [i, method.name]);
    fill(fields.method, names);
    fill(fields.other, [["", "nothing"], ...names]);
    fill(fields.target, [["", "the explained one"], ...classes.map((name, i) => [i, name])]);
  }

  // Larger first; what has no number comes last.
  const by = (key) => (a, b) => (key(b) ?? -Infinity) - (key(a) ?? -Infinity);
  const ORDERS = {
    data: () => 0,
    sure: by(sure),
    unsure: by((text) => -sure(text)),
    disagreement: by((text) => text.disagreement),
    wrong: by((text) => text.wrong),
  };

  function wanted() {
    const search = fields.search.value.trim().toLocaleLowerCase();
    const right = { all: null, wrong: false, right: true }[fields.show.value];
    return sheet().texts
      .filter((text) => right === null || isRight(text) === right)
      .filter((text) => !search || whole(text).includes(search))
      .sort(ORDERS[fields.sort.value]);
  }

  const short = (value, digits) => value.toFixed(digits).replace(/^0/, "");

  function number(score, signed) {
    if (score === null) return "not a number";
    return `${signed && score >= 0 ? "+" : ""}${score}`;
  }

  function colours(score, largest, signed) {
    const level = Math.max(signed ? -1 : 0, Math.min(1, score / largest));
    const every = data.palette[signed ? "signed" : "unsigned"];
    return every[Math.round(level * 100) + (signed ? 100 : 0)];
  }

  function drawWords(text, method, signed) {
    const found = text.scores[method][target(text)];
    const words = text.words.map((word, i) => {
      const span = make("span", { class: "word", "data-word": i }, word);
      if (text.marks.includes(i)) span.classList.add("marked");
      const score = found && found[1][i];
      if (found && score === null) span.classList.add("unknown");
      if (found && score !== null) {
        [span.style.backgroundColor, span.style.color] = colours(score, found[0], signed);
      }
      return span;
    });
    return text.gaps.flatMap((gap, i) => {
      const between = gap.trim() ? make("span", { class: "gap" }, gap) : gap;
      return i < words.length ? [between, words[i]] : [between];
    });
  }

  function strongest(text, method, signed) {
    const found = text.scores[method][target(text)];
    if (!found) return "not explained for this class";
    return found[1].map((score, i) => [score, text.words[i]])
      .filter(([score]) => score !== null)
      .sort(([a], [b]) => Math.abs(b) - Math.abs(a))
      .slice(0, 3)
      .map(([score, word]) => `${word} ${number(score, signed)}`)
      .join(", ") || "none";
  }

  function facts(text) {
    const { classes } = sheet();
    const right = isRight(text);
    const verdict = right === null ? ["? not labelled", ""] : right ? ["✓ right", "right"]
      : ["✗ wrong", "wrong"];
    const parts = [make("b", { class: `mark ${verdict[1]}` }, verdict[0])];
    const add = (name, value) => parts.push(make("span", {},
      make("span", { class: "soft" }, `${name} `), make("bdi", {}, value)));
    if (text.gold !== null) add("gold", classes[text.gold]);
    add("predicted", classes[text.predicted]);
    add("probability", short(sure(text), 3));
    if (text.disagreement !== null) add("disagreement", short(text.disagreement, 2));
    const explained = target(text);
    if (explained !== text.predicted) add("coloured for", classes[explained]);
    return make("p", { class: "facts-of" }, ...parts,
      make("span", { class: "soft place" }, `text ${text.n}`));
  }

  function drawText(text) {
    const { methods } = sheet();
    const said = make("p", { class: "readout", role: "status" });
    const panes = chosen().map((method) => {
      const { name, signed } = methods[method];
      const unasked = !text.scores[method][target(text)];
      const words = make("div", {
        class: "heatmap", dir: "auto", tabindex: "0", role: "group",
        "aria-label": `${name}, largest scores: ${strongest(text, method, signed)}`,
      }, ...drawWords(text, method, signed));
      const title = make("p", { class: "method" }, make("bdi", {}, name));
      if (unasked) title.append(" (not explained for this class)");
      title.hidden = chosen().length === 1 && !unasked;
      return make("div", { class: "pane" }, title, words);
    });
    const article = make("article", { class: "text", "aria-label": `Text ${text.n}` },
      facts(text), make("div", { class: "panes" }, ...panes), said);
    listen(article, text, said);
    return article;
  }

  // A word is read by pointing at it, or with the arrow keys where a heatmap has the focus.
  function listen(article, text, said) {
    let current = -1;
    const { methods } = sheet();

    function show(word) {
      for (const span of all(".word.at", article)) span.classList.remove("at");
      current = word;
      if (word < 0) {
        said.replaceChildren();
        return;
      }
      for (const span of all(`.word[data-word="${word}"]`, article)) span.classList.add("at");
      const scores = methods.map(({ name, signed }, method) => {
        const found = text.scores[method][target(text)];
        const score = make("span", { class: "score" }, make("bdi", {}, name), " ",
          make("b", {}, found ? number(found[1][word], signed) : "–"));
        if (chosen().includes(method)) score.classList.add("chosen");
        return score;
      });
      said.replaceChildren(make("bdi", { class: "said-word" }, text.words[word]), ...scores);
    }

    article.addEventListener("pointerover", (event) => {
      const word = event.target.closest?.(".word");
      if (word) show(Number(word.dataset.word));
    });
    article.addEventListener("focusin", (event) => {
      if (event.target.matches(".heatmap:focus-visible")) show(Math.max(current, 0));
    });
    article.addEventListener("keydown", (event) => {
      if (!event.target.matches(".heatmap")) return;
      const last = text.words.length - 1;
      const back = getComputedStyle(event.target).direction === "rtl" ? "ArrowRight" : "ArrowLeft";
      const next = back === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
      const places = { [back]: current - 1, [next]: current + 1, Home: 0, End: last };
      if (event.key === "Escape") show(-1);
      if (!(event.key in places) || last < 0) return;
      event.preventDefault();
      show(Math.max(0, Math.min(last, places[event.key])));
    });
  }

  function draw() {
    const found = wanted();
    const shown = found.slice(0, limit);
    const { name, when, texts: every, left_out: leftOut, methods } = sheet();
    texts.replaceChildren(...shown.map(drawText));
    more.hidden = shown.length === found.length;
    const kinds = new Set(chosen().map((method) => (methods[method].signed ? "signed" : "unsigned")));
    for (const scale of all(".scale")) scale.hidden = !kinds.has(scale.dataset.kind);
    const among = found.length < every.length ? `, found among ${every.length}` : "";
    at("#shown").textContent =
      `${shown.length} of ${found.length} texts${among}: ${name}, ${when}. ${leftOut}`.trim();
  }

  fill(fields.sheet, data.sheets.map((one, i) => [i, one.name]));
  fields.sheet.parentElement.hidden = data.sheets.length === 1;
  fillChoices();
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  function drawAnew() {
    limit = AT_ONCE;
    draw();
  }

  fields.search.addEventListener("input", drawAnew);
  form.addEventListener("change", (event) => {
    if (event.target === fields.search) return;
    if (event.target === fields.sheet) fillChoices();
    drawAnew();
  });
  more.addEventListener("click", () => {
    const first = limit;
    limit += AT_ONCE;
    draw();
    at(".heatmap", texts.children[first])?.focus();
  });
  draw();
})();
