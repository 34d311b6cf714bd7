// Shows /api/state, twice a second; keeps no state that a reload would lose.

const POLL_MS = 500;
const HIDDEN_POLL_MS = 5000;
const RETRY_MS = 2000;
// A browser opens six connections per server: leave some for the state and a second tab.
const MAX_MJPEG = 4;
const STAGES = ["capture", "decode", "preprocess", "inference", "postprocess", "end_to_end", "frame_age"];
const OVER = ["ended", "failed"];
const STATES = {
  connecting: "Connecting", live: "Live", stalled: "Stalled", reconnecting: "Reconnecting", ended: "Ended", failed: "Failed",
};

const $ = (id) => document.getElementById(id);
const cards = new Map();
let failures = 0;

function element(tag, content, className) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...[content ?? []].flat());
  return made;
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const words = (name) => name.replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase());
const digits = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
const count = (value) => value.toLocaleString("en").replaceAll(",", " ");
const gigabytes = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

function meter(share) {
  const made = element("span", element("i"), "meter");
  made.firstChild.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return made;
}

/** A percentile as text, or a dash; why it is missing is in the tooltip. */
function percentile(summary, name) {
  const value = summary?.[name] ?? null;
  return { text: value === null ? "–" : digits(value), why: value === null ? summary?.unsupported?.[name] ?? "not measured" : "" };
}

function fact(name, content) {
  return element("div", [element("dt", name), element("dd", content)]);
}

function tile(name, text, unit, why = "") {
  const made = element("div", [element("dt", name), element("dd", [text, element("small", text === "–" ? "too few samples" : unit)])]);
  made.title = why;
  return made;
}

class Card {
  constructor(stream) {
    this.root = $("stream").content.firstElementChild.cloneNode(true);
    this.image = this.root.querySelector("img");
    this.source = "";
    this.shown = null;
    this.image.addEventListener("error", () => {
      this.source = "";
      this.image.removeAttribute("src");
      this.retryAt = performance.now() + RETRY_MS;
    });
    this.retryAt = 0;
    this.find("details").addEventListener("toggle", () => this.table(this.stream));
    this.root.id = `stream-${stream.id}`;
    $("streams").append(this.root);
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  update(stream, position) {
    this.stream = stream;
    this.root.dataset.state = stream.state;
    this.root.classList.toggle("unseen", stream.frame === null);
    const pill = this.find(".pill");
    set(pill, STATES[stream.state]);
    pill.title = stream.reason ?? "";
    set(this.find(".name"), stream.name);
    this.find(".name").title = stream.name;
    set(this.find(".size"), stream.width ? `${stream.width} × ${stream.height}` : "");
    set(this.find(".notice"), notice(stream));
    this.find(".notice").title = stream.reason ?? "";
    this.picture(stream, position);
    set(this.find(".headline"), stream.headline ?? "No prediction yet");
    this.find(".headline").title = stream.headline ?? "";
    this.find(".rows").replaceChildren(...stream.rows.map(([label, bar, figure]) => {
      const row = element("li", [element("span", label), meter(bar), element("span", figure)]);
      row.title = label;
      return row;
    }));
    this.tiles(stream);
    this.plot(stream);
    if (this.find("details").open) this.table(stream);
  }

  picture(stream, position) {
    this.image.alt = `Newest frame of ${stream.name}`;
    if (stream.frame === null || document.hidden) return this.look("");
    if (performance.now() < this.retryAt) return;
    if (position < MAX_MJPEG && !OVER.includes(stream.state)) return this.look(`streams/${stream.id}.mjpeg`);
    if (stream.frame !== this.shown) this.look(`streams/${stream.id}.jpg?frame=${encodeURIComponent(stream.frame)}`);
    this.shown = stream.frame;
  }

  look(source) {
    if (source === this.source) return;
    this.source = source;
    if (source) this.image.src = source;
    else this.image.removeAttribute("src");
  }

  tiles(stream) {
    const age = stream.latency_ms.frame_age;
    const [typical, slow] = [percentile(age, "p50"), percentile(age, "p99")];
    const { frames } = stream;
    const dropped = frames.overtaken + frames.stopped;
    const share = frames.in ? `${((100 * dropped) / frames.in).toFixed(1)} %` : "";
    this.find(".tiles").replaceChildren(
      tile("Decided", stream.decided_fps.toFixed(1), "fps", stream.claimed_fps ? `the source claims ${stream.claimed_fps.toFixed(1)} fps` : ""),
      tile("Age, p50", typical.text, "ms", typical.why),
      tile("Age, p99", slow.text, "ms", slow.why),
      tile("Dropped", count(dropped), share, `of ${count(frames.in)} frames`),
    );
  }

  plot(stream) {
    const { age_ms_median: typical, age_ms_max: worst } = stream.curve;
    const top = niceAbove(Math.max(...worst.map((ms) => ms ?? 0)));
    this.find("path.typical").setAttribute("d", path(typical, top));
    this.find("path.worst").setAttribute("d", path(worst, top));
    const newest = typical.findLast((ms) => ms !== null);
    this.find("svg").setAttribute("aria-label", newest === undefined ? "No frame ages yet" : `Median frame age ${digits(newest)} ms`);
    this.find(".ticks").replaceChildren(...[1, 0.5, 0].map((share) => {
      const line = element("span", element("b", `${+(top * share).toPrecision(3)}${share === 1 ? " ms" : ""}`));
      line.style.top = `${100 * (1 - share)}%`;
      return line;
    }));
  }

  table(stream) {
    const names = ["mean", "p50", "p90", "p99", "max"];
    this.find("thead").replaceChildren(element("tr", ["ms, last minute", ...names].map((name) => element("th", name))));
    this.find("tbody").replaceChildren(...STAGES.filter((stage) => stream.latency_ms[stage]).map((stage) => {
      const summary = stream.latency_ms[stage];
      const cells = names.map((name) => {
        const { text, why } = percentile(summary, name);
        const cell = element("td", text);
        cell.title = why;
        return cell;
      });
      return element("tr", [element("th", words(stage)), ...cells]);
    }));
    const { frames } = stream;
    const causes = [
      ["Frames in", frames.in], ["Decided", frames.decided], ["Replaced by a newer one", frames.overtaken],
      ["Unprocessed at the end", frames.stopped], ["Failed", frames.failed],
      ...Object.entries(frames.left_out).map(([cause, number]) => [`Left out: ${cause}`, number]),
      ["Reconnections", stream.reconnections],
    ];
    this.find(".frames").replaceChildren(
      ...causes.map(([name, number]) => fact(name, count(number))), ...stream.skipped.map((text) => fact("Skipped", text)),
    );
  }
}

function notice(stream) {
  const silent = stream.silent_s === null ? "" : `no frame for ${duration(stream.silent_s)}`;
  const what = stream.reason?.split(/ (?:got|expected|fix): /)[0];  // the rest is in the tooltip
  switch (stream.state) {
    case "connecting": return "Waiting for the first frame";
    case "stalled": return `Stalled: ${silent}`;
    case "reconnecting": return [what ?? "Connection lost", silent].filter(Boolean).join("; ");
    case "failed": return what ?? "Failed";
    default: return "";
  }
}

/** The smallest of 1, 2, 5 times a power of ten that is not below the value. */
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((nice) => nice >= value);
}

/** A line through the seconds that have a value; the others are gaps. */
function path(values, top) {
  const last = values.length - 1;
  let open = false;
  return values.map((ms, i) => {
    if (ms === null) { open = false; return ""; }
    const point = `${((600 * i) / last).toFixed(1)} ${(100 * (1 - ms / top)).toFixed(2)}`;
    const alone = !open && (values[i + 1] ?? null) === null;
    const step = `${open ? "L" : "M"}${point}${alone ? "h1" : ""}`;
    open = true;
    return step;
  }).join("");
}

function showRequests({ server, requests }) {
  const codes = Object.entries(requests.by_code);
  const [typical, slow] = [percentile(requests.latency_ms, "p50"), percentile(requests.latency_ms, "p99")];
  const latency = element("span", `p50 ${typical.text}${typical.why ? "" : " ms"}, p99 ${slow.text}${slow.why ? "" : " ms"}`);
  latency.title = slow.why;
  $("requests").replaceChildren(
    fact("In progress", `${requests.under_way} of at most ${requests.capacity}`),
    fact("By status", codes.length ? codes.map(([code, number]) => `${code}: ${count(number)}`).join(", ") : "none yet"),
    fact("Latency", [latency]),
  );
  const model = encodeURIComponent(server.model);
  const base = new URL(".", location.href).href;  // with the prefix of a proxy
  const token = server.needs_token ? ' -H "Authorization: Bearer $EDGEPROOF_TOKEN"' : "";
  set($("example"), server.takes_pictures
    ? `curl${token} --data-binary @photo.jpg ${base}v2/models/${model}/predict`
    : `curl${token} ${base}v2/models/${model}`);
}

function showHost({ host }) {
  const cores = element("div", host.cpu_percent.map((percent) => meter(percent / 100)), "cores");
  const mean = host.cpu_percent.reduce((a, b) => a + b, 0) / host.cpu_percent.length;
  const gpus = host.gpus.map((gpu) => fact("GPU", [gpu.name,
    ...[[gpu.utilization_percent, "%"], [gpu.temperature_c, "°C"], [gpu.clock_sm_mhz, "MHz"]]
      .filter(([value]) => value !== null && value !== undefined).map(([value, unit]) => `, ${value} ${unit}`)]));
  $("host").replaceChildren(
    fact("CPU", [`${mean.toFixed(0)} % of ${host.cpu_percent.length} cores; this process ${(host.process_cpu_percent / 100).toFixed(1)} cores`, cores]),
    fact("Memory", [`${gigabytes(host.memory_used_bytes)} of ${gigabytes(host.memory_total_bytes)}`, meter(host.memory_used_bytes / host.memory_total_bytes)]),
    fact("This process", `${(host.process_rss_bytes / 2 ** 20).toFixed(0)} MiB, ${host.process_threads} threads, ${host.process_descriptors} descriptors`),
    fact("Temperature", host.temperature_c === null ? `not available: ${host.unavailable.temperature_c}` : `${host.temperature_c.toFixed(0)} °C`),
    ...(gpus.length ? gpus : [fact("GPU", `not available: ${host.unavailable.gpu}`)]),
  );
}

function show(state) {
  const { server, streams } = state;
  document.title = `${server.model} · edgeproof`;
  set($("model"), server.model);
  set($("byline"), `${server.platform} · edgeproof ${server.version} · up ${duration(server.uptime_s)}`);
  const trouble = [server.error, state.streams_error].filter(Boolean).join("; ");
  $("health").dataset.state = trouble ? "failed" : "live";
  set($("health"), trouble ? "Error" : "Ready");
  $("trouble").hidden = !trouble;
  set($("trouble"), trouble);
  $("streams").dataset.count = streams.length;
  $("no-streams").hidden = streams.length > 0;
  streams.forEach((stream, position) => {
    if (!cards.has(stream.id)) cards.set(stream.id, new Card(stream));
    cards.get(stream.id).update(stream, position);
  });
  showRequests(state);
  showHost(state);
}

function lost(error) {
  failures += 1;
  if (failures < 2) return;
  $("health").dataset.state = "failed";
  set($("health"), "No response");
  $("trouble").hidden = false;
  set($("trouble"), `The server does not respond (${error.message}). Retrying.`);
  for (const card of cards.values()) {
    card.look("");
    card.root.dataset.state = "failed";
    set(card.find(".pill"), "Unknown");
    set(card.find(".notice"), "The server does not respond");
  }
}

async function poll() {
  try {
    const answer = await fetch("api/state", { signal: AbortSignal.timeout(5000) });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
    failures = 0;
  } catch (error) {
    lost(error);
  }
  setTimeout(poll, document.hidden ? HIDDEN_POLL_MS : POLL_MS);
}

document.addEventListener("visibilitychange", () => { for (const card of cards.values()) if (document.hidden) card.look(""); });
poll();
