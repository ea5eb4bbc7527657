"use strict";
const $ = id => document.getElementById(id);
const ROW = 64;
const ITEMS = new Map();

/* The page's parts: base64 of gzip of JSON, unpacked when asked for. */
async function unpack(id) {
  const text = atob($(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}
function chunk(view, number) {
  const key = `items-${view}-${number}`;
  if (!ITEMS.has(key)) ITEMS.set(key, unpack(key));
  return ITEMS.get(key);
}
async function itemAt(view, place) {
  return (await chunk(view, Math.floor(place / HEAD.chunk)))[place % HEAD.chunk];
}

/* All text reaches the page through this: nothing is ever read as HTML. */
function make(tag, text, name) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined && text !== null) node.textContent = text;
  return node;
}
function marked(tag, text, word, name) {
  const node = make(tag, null, name);
  if (!word) { node.textContent = text; return node; }
  const low = text.toLowerCase();
  let from = 0, at;
  while ((at = low.indexOf(word, from)) >= 0) {
    node.append(text.slice(from, at), make("mark", text.slice(at, at + word.length)));
    from = at + word.length;
  }
  node.append(text.slice(from));
  return node;
}

let HEAD, INDEX = [], view = 0, shown = [], here = -1, word = "", run = 0;
const FILTERS = {
  all: ["all", () => true],
  none: ["wrong in all", line => line.right === 0],
  every: ["right in all", line => line.right === line.of],
  mixed: ["right in some", line => line.right > 0 && line.right < line.of],
  low: ["low agreement", line => line.agreement < HEAD.low],
  truncated: ["truncated", line => line.truncated > 0],
  pairs: ["with pairs", line => line.pairs > 0],
  gained: ["gained (last over first model)", line => line.gained],
  lost: ["lost", line => line.lost],
};
const SORTS = {
  order: ["in order", null],
  right: ["fewest right", line => line.right / line.of],
  agreement: ["lowest agreement", line => line.agreement],
  tokens: ["longest", line => -line.tokens],
  truncated: ["most truncated", line => -line.truncated],
};

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, label]) => {
    const option = make("option", label);
    option.value = value;
    return option;
  }));
  if (entries.some(([value]) => value === chosen)) select.value = chosen;
}

async function openView(number) {
  view = number;
  INDEX = await unpack(`index-${view}`);
  const kind = HEAD.views[view].kind;
  const hidden = kind === "answers" ? ["pairs"] : ["gained", "lost"];
  options($("filter"), Object.entries(FILTERS).filter(([key]) => !hidden.includes(key)).map(([key, [label]]) => [key, label]), $("filter").value);
  const arms = HEAD.views[view].arms.flatMap((arm, place) => [[`r${place}`, `${arm} right`], [`w${place}`, `${arm} wrong`]]);
  options($("arm"), [["", "any"], ...arms], "");
  document.querySelector("#arm").previousSibling.textContent = kind === "answers" ? "Model " : "Arm ";
  await select();
}

/* Which questions are listed, in which order. A search reads all texts, a chunk at a time, and can be overtaken by another. */
async function select(keep) {
  const mine = ++run;
  const test = FILTERS[$("filter").value][1], arm = $("arm").value, key = SORTS[$("sort").value][1];
  word = $("search").value.trim().toLowerCase();
  let places = INDEX.map((_, place) => place).filter(place => test(INDEX[place]));
  if (arm) {
    const bit = 1 << Number(arm.slice(1)), wanted = arm[0] === "r";
    places = places.filter(place => Boolean(INDEX[place].mask & bit) === wanted);
  }
  if (word) {
    const found = [];
    for (const place of places) {
      if (INDEX[place].id.toLowerCase().includes(word)) { found.push(place); continue; }
      const item = await itemAt(view, place);
      if (mine !== run) return;
      const texts = [item.question, String(item.gold), ...item.outs.map(out => out.text), ...(item.samples || []).flat().map(out => out.text)];
      if (texts.some(text => text.toLowerCase().includes(word))) found.push(place);
    }
    places = found;
  }
  if (mine !== run) return;
  if (key) places.sort((a, b) => key(INDEX[a]) - key(INDEX[b]) || a - b);
  shown = places;
  $("count").textContent = `${shown.length.toLocaleString("en")} of ${INDEX.length.toLocaleString("en")}`;
  $("spacer").style.height = `${shown.length * ROW}px`;
  if (!keep) $("list").scrollTop = 0;
  draw();
}

/* Of the list, only the lines in sight are in the document. */
const LINES = new Map();
function draw() {
  const list = $("list"), first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / ROW) + 8);
  for (const [row, node] of LINES) if (row < first || row >= last || node.place !== shown[row]) { node.remove(); LINES.delete(row); }
  for (let row = first; row < last; row++) {
    let node = LINES.get(row);
    if (!node) {
      const line = INDEX[shown[row]];
      node = make("div", null, "line");
      node.place = shown[row];
      node.style.top = `${row * ROW}px`;
      node.append(make("i", `${line.right} of ${line.of} right, ${Math.round(100 * line.agreement)} % agree`), make("b", `\u200e${line.id}`), make("span", line.snippet));
      node.onclick = () => open(row);
      LINES.set(row, node);
      list.append(node);
    }
    node.classList.toggle("here", row === here);
  }
}

function number(value, digits = 3) {
  return value === undefined || value === null ? "" : typeof value === "number" && !Number.isInteger(value) ? value.toFixed(digits) : String(value);
}
function facts(pairs) {
  const list = make("dl");
  for (const [name, value] of pairs) if (value !== "" && value !== undefined) list.append(make("dt", name), make("dd", value));
  return list;
}
function card(out, title, rewards) {
  const node = make("section", null, out.correct ? "out right" : "out");
  const head = make("h2", title);
  head.append(make("span", out.correct ? "right" : "wrong", "tag"));
  const rows = [
    ["answer", out.answer === undefined ? "none" : `${out.answer} (${out.extraction})`],
    ["tokens", `${out.num_tokens}${out.finish_reason === "stop" ? "" : `, ${out.finish_reason}`}`],
    ["thought", out.thinking_tokens ? `${out.thinking_tokens} tokens` : ""],
    ["score", number(out.score)],
  ];
  if (out.reward !== undefined) {
    const over = Math.max(0, out.num_tokens - rewards.length_limit);
    rows.push(["reward", `${number(out.reward)} = ${number(rewards.alpha * (out.correct ? 1 : 0))} + ${rewards.beta} x s_wm - ${rewards.lambda_length} x ${over}`]);
    rows.push(["coherence", `s_wm ${number(out.s_wm)}: end ${number(out.s_end)}, path ${number(out.s_path)}, cf ${number(out.s_cf)}`]);
  }
  if (out.fault) rows.push(["verifier failed", out.fault]);
  if (out.disagreement) rows.push(["math-verify", "reads the answer otherwise"]);
  node.append(head, facts(rows));
  let said = out.text;
  if (out.answer_start) {
    const letters = Array.from(out.text), thought = make("details");
    thought.append(make("summary", "thought"), marked("pre", letters.slice(0, out.answer_start).join(""), word));
    said = letters.slice(out.answer_start).join("");
    node.append(thought);
  }
  node.append(marked("pre", said, word));
  return node;
}

async function open(row) {
  if (row < 0 || row >= shown.length) return;
  here = row;
  const place = shown[row], item = await itemAt(view, place), spec = HEAD.views[view], line = INDEX[place];
  if (here !== row) return;
  const page = $("item"), back = make("button", "Back to the list");
  back.id = "back";
  back.onclick = () => document.body.classList.remove("open");
  const nodes = [back, marked("p", item.question, word, "question")];
  nodes.push(make("p", `${item.id}. Gold answer: ${item.gold ?? "none"}. ${line.right} of ${line.of} right, ${Math.round(100 * line.agreement)} % give the most frequent answer, ${line.truncated} truncated.`, "facts"));
  const outs = make("div", null, "outs");
  item.outs.forEach((out, which) => {
    const node = card(out, spec.kind === "answers" ? `${out.model}, greedy` : out.arm, spec.reward);
    if (item.samples) {
      const samples = item.samples[which], more = make("details");
      more.append(make("summary", `${samples.filter(sample => sample.correct).length} of ${samples.length} samples right: ${samples.map(sample => sample.answer ?? "none").join(", ")}`));
      more.ontoggle = () => { if (more.open && more.children.length === 1) more.append(...samples.map((sample, k) => card(sample, `sample ${k + 1}`))); };
      node.append(more);
    }
    outs.append(node);
  });
  nodes.push(outs);
  if (item.pairs && item.pairs.length) {
    const table = make("table");
    table.append(make("caption", "Pairs"));
    const body = make("tbody");
    for (const [chosen, rejected, type, reason] of item.pairs) {
      const line = make("tr", null, reason ? "dropped" : "");
      for (const text of [item.outs[chosen].arm, `over ${item.outs[rejected].arm}`, type, reason ? `dropped: ${reason}` : "kept"]) line.append(make("td", text));
      body.append(line);
    }
    table.append(body);
    nodes.push(table);
  }
  page.replaceChildren(...nodes);
  page.scrollTop = 0;
  document.body.classList.add("open");
  const list = $("list"), top = row * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  draw();
  history.replaceState(null, "", `#${encodeURIComponent(spec.name)}/${encodeURIComponent(item.id)}`);
}

/* #SET/ID opens that question. */
async function follow() {
  const [set, id] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const number = HEAD.views.findIndex(one => one.name === set);
  if (number >= 0 && number !== view) { $("view").value = number; await openView(number); }
  const row = shown.findIndex(place => INDEX[place].id === id);
  if (row >= 0) await open(row);
}

async function start() {
  HEAD = await unpack("head");
  options($("view"), HEAD.views.map((one, number) => [String(number), one.name]));
  options($("sort"), Object.entries(SORTS).map(([key, [label]]) => [key, label]));
  options($("filter"), [["all", "all"]]);
  $("view").onchange = () => { here = -1; openView(Number($("view").value)); };
  for (const id of ["filter", "arm", "sort"]) $(id).onchange = () => { here = -1; select(); };
  let wait;
  $("search").oninput = () => { clearTimeout(wait); wait = setTimeout(() => { here = -1; select(); }, 200); };
  $("list").onscroll = () => requestAnimationFrame(draw);
  window.onresize = draw;
  window.onhashchange = follow;
  document.onkeydown = event => {
    if (event.target.matches("input, select")) { if (event.key === "Escape") { event.target.blur(); $("list").focus(); } return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); open(here + step); }
    else if (event.key === "/") { event.preventDefault(); $("search").focus(); }
  };
  if (HEAD.views.length) await openView(0);
  if (location.hash) await follow();
  document.body.dataset.ready = "yes";
}
start();
