// Shows /api/state, twice a second (a wall: once); keeps no state that a reload would lose.

const POLL_MS = 500;
const WALL_POLL_MS = 1000;
const HIDDEN_POLL_MS = 5000;
const RETRY_MS = 2000;
// A browser opens six connections per server: leave some for the state and a second tab.
const MAX_MJPEG = 4;
const WALL = 9;  // from this many streams on, the page is a wall of small cards
const LARGE_WALL = 25;  // and from this many on, of smaller ones
const SMALL_PICTURES_HZ = 16;  // of all cards in view together
const STAGES = ["capture", "decode", "preprocess", "inference", "postprocess", "end_to_end", "frame_age"];
const OVER = ["ended", "failed"];
const STATES = {
  connecting: "Connecting", live: "Live", stalled: "Stalled", reconnecting: "Reconnecting", ended: "Ended", failed: "Failed",
  never: "Never connected", unhealthy: "Unhealthy",
};
const FAILURES_FIRST = ["failed", "never", "reconnecting", "stalled", "unhealthy", "connecting", "live", "ended"];
const UNHEALTHY_S = 1;  // a single frame of motion blur is no state of a stream

const $ = (id) => document.getElementById(id);
const cards = new Map();
const inView = new Set();
let failures = 0;

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) inView[isIntersecting ? "add" : "delete"](target);
});

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

/** The time of day some seconds ago, with the day where it was not today. */
function clock(seconds) {
  const then = new Date(Date.now() - 1000 * seconds);
  const time = then.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const today = then.toDateString() === new Date().toDateString();
  return today ? time : `${then.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

/** The state as people say it: a camera that never gave a frame is not "reconnecting". */
function stateOf(stream) {
  const waits = stream.state === "reconnecting" || (stream.state === "connecting" && stream.reason);
  if (waits && !stream.seen) return "never";
  return stream.state === "live" && stream.health_age_s >= UNHEALTHY_S ? "unhealthy" : stream.state;
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
      this.nextAt = performance.now() + RETRY_MS;
    });
    this.nextAt = 0;
    this.open = false;
    this.find("details").addEventListener("toggle", () => this.table(this.stream));
    for (const part of [".more", ".screen"]) this.find(part).addEventListener("click", () => this.toggle());
    this.root.id = `stream-${stream.id}`;
    $("streams").append(this.root);
    watcher.observe(this.root);
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  /** Open a small card of the wall, or make it small again. */
  toggle() {
    if (!$("streams").classList.contains("wall")) return;
    this.open = !this.open;
    this.root.classList.toggle("open", this.open);
    set(this.find(".more"), this.open ? "Close" : "Details");
    this.find(".more").setAttribute("aria-expanded", this.open);
    this.nextAt = 0;
    this.shown = null;
    this.update(this.stream, this.position, this.wall);
  }

  update(stream, position, wall) {
    Object.assign(this, { stream, position, wall });
    const state = stateOf(stream);
    this.root.dataset.state = state;
    this.root.classList.toggle("unseen", stream.frame === null);
    set(this.find(".pill"), state === "unhealthy" ? words(stream.health) : STATES[state]);
    set(this.find(".name"), stream.name);
    set(this.find(".size"), stream.width ? `${stream.width} × ${stream.height}` : "");
    this.find(".more").setAttribute("aria-label", `Details of ${stream.name}`);
    this.notice(notice(stream, state));
    this.picture(stream, position, wall && !this.open);
    this.said(stream);
    if (wall && !this.open) return;
    this.tiles(stream);
    this.plot(stream);
    if (this.find("details").open) this.table(stream);
  }

  /** Say on the card itself why there is no picture: a phone has no tooltip. */
  notice({ what, since, rest }) {
    const key = [what, since, rest].join("\n");
    if (this.noticed === key) return;
    this.noticed = key;
    const when = since ? [`${since[0]} `, element("i", `(${since[1]})`)] : "";
    const lines = [["b", what], ["span", when], ["small", rest]].filter(([, content]) => content);
    this.find(".notice").replaceChildren(...lines.map(([tag, content]) => element(tag, content)));
  }

  said(stream) {
    const headline = this.find(".headline");
    const guess = stream.sure ? "" : stream.headline;
    const text = stream.sure ? stream.headline ?? "No prediction yet" : "unsure ";
    const key = `${text}\n${guess}`;
    if (this.headline !== key) {
      this.headline = key;
      headline.replaceChildren(text, ...(guess ? [element("small", guess)] : []));
      headline.title = stream.headline ?? "";
    }
    this.find(".said").classList.toggle("unsure", !stream.sure);
    this.find(".rows").replaceChildren(...stream.rows.map(([label, bar, figure]) => {
      const row = element("li", [element("span", label), meter(bar), element("span", figure)]);
      row.title = label;
      return row;
    }));
    const left = [...Object.entries(stream.unhealthy), ...Object.entries(stream.frames.left_out)].filter(([, number]) => number);
    this.find(".left-out").hidden = !left.length;
    set(this.find(".left-out"), `Left out: ${left.map(([cause, number]) => `${count(number)} ${cause}`).join(", ")}`);
  }

  picture(stream, position, small) {
    this.image.alt = `Newest frame of ${stream.name}`;
    if (stream.frame === null || document.hidden) return this.look("");
    const now = performance.now();
    if (now < this.nextAt) return;
    if (position < MAX_MJPEG && !this.wall && !OVER.includes(stream.state)) return this.look(`streams/${stream.id}.mjpeg`);
    if (stream.frame === this.shown || !inView.has(this.root)) return;
    this.nextAt = now + (this.wall ? (1000 * inView.size) / SMALL_PICTURES_HZ : 0);
    this.shown = stream.frame;
    this.look(`streams/${stream.id}.jpg?${small ? "small=1&" : ""}frame=${encodeURIComponent(stream.frame)}`);
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
      ...Object.entries(stream.unhealthy).map(([cause, number]) => [`Unhealthy: ${cause}`, number]),
      ...Object.entries(frames.left_out).map(([cause, number]) => [`Left out: ${cause}`, number]),
      ["Reconnections", stream.reconnections],
    ];
    this.find(".frames").replaceChildren(
      ...causes.map(([name, number]) => fact(name, count(number))), ...stream.skipped.map((text) => fact("Skipped", text)),
    );
  }
}

/** Why a stream shows no new frame, since when, and how to mend it. */
function notice(stream, state) {
  if (state === "live" || state === "ended") return { what: stream.reason && state === "ended" && stream.reason !== "stopped" ? stream.reason : "" };
  // "rtsp://...: cannot open got: ... expected: ... fix: ...": the card has the name, so the address can go.
  const [first, ...parts] = (stream.reason ?? "").split(/ (?=(?:got|expected|fix): )/);
  const got = parts.find((part) => part.startsWith("got: "))?.slice(5);
  const what = [first.replace(/^\S+:\/\/\S+: /, ""), got].filter(Boolean).join(": ");
  const rest = parts.filter((part) => !part.startsWith("got: "));
  const down = stream.silent_s ?? stream.watched_s;
  const since = (seconds, prefix = "since") => [`${prefix} ${clock(seconds)}`, duration(seconds)];
  switch (state) {
    case "connecting": return { what: "Waiting for the first frame" };
    case "unhealthy": return { what: `${words(stream.health)} frames`, since: since(stream.health_age_s) };
    case "stalled": return { what: "No frames", since: since(down) };
    case "never": return { what: what || "Never connected", since: since(stream.watched_s, "trying since"), rest: rest.join("\n") };
    case "failed": return { what: what || "Failed", since: since(stream.state_age_s), rest: rest.join("\n") };
    default: return { what: what || "Connection lost", since: since(down), rest: rest.join("\n") };
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

/** Show what each file and sink has taken, and why one is not connected. */
function showOutputs({ outputs }) {
  $("outputs-section").hidden = !outputs.length;
  $("outputs").replaceChildren(...outputs.map(({ name, written, dropped, failed, waiting, problem, last_error: last }) => {
    const lost = [[dropped, "dropped"], [failed, "failed"], [waiting, "waiting"]].filter(([number]) => number);
    const text = [`${count(written)} written`, ...lost.map(([number, what]) => `${count(number)} ${what}`)].join(", ");
    const why = problem ?? (failed ? last : null);
    return fact(name, [text, ...(why ? [element("p", why, "problem")] : [])]);
  }));
}

/** One phrase for all streams: green only while every stream that has not ended is live. */
function health(streams) {
  const states = streams.map(stateOf);
  const running = states.filter((state) => state !== "ended");
  const live = running.filter((state) => state === "live").length;
  if (!running.length) return ["live", states.length ? "All ended" : "Ready"];
  if (live === running.length) return ["live", `${live} live`];
  return [live === 0 || states.includes("failed") ? "failed" : "stalled", `${live} of ${running.length} live`];
}

/** Put the cards in order; nodes move only where the order changes, so that pictures stay. */
function arrange(ordered) {
  ordered.forEach((stream, position) => {
    const { root } = cards.get(stream.id);
    const there = $("streams").children[position];
    if (there !== root) $("streams").insertBefore(root, there);
  });
}

function show(state) {
  const { server, streams } = state;
  document.title = `${server.model} · edgeproof`;
  set($("model"), server.model);
  set($("byline"), `${server.platform} · edgeproof ${server.version} · up ${duration(server.uptime_s)}`);
  const trouble = [server.error, state.streams_error].filter(Boolean).join("; ");
  const [level, phrase] = trouble ? ["failed", "Error"] : health(streams);
  $("health").dataset.state = level;
  set($("health"), phrase);
  $("trouble").hidden = !trouble;
  set($("trouble"), trouble);
  const wall = streams.length >= WALL;
  $("streams").dataset.count = streams.length;
  $("streams").classList.toggle("wall", wall);
  $("streams").classList.toggle("large", streams.length >= LARGE_WALL);
  $("no-streams").hidden = streams.length > 0;
  const rank = (stream) => FAILURES_FIRST.indexOf(stateOf(stream));
  const ordered = wall ? streams.toSorted((a, b) => rank(a) - rank(b)) : streams;
  for (const stream of ordered) if (!cards.has(stream.id)) cards.set(stream.id, new Card(stream));
  arrange(ordered);
  ordered.forEach((stream, position) => cards.get(stream.id).update(stream, position, wall));
  showRequests(state);
  showHost(state);
  showOutputs(state);
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
    card.notice({ what: "The server does not respond" });
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
  const wall = $("streams").classList.contains("wall");
  setTimeout(poll, document.hidden ? HIDDEN_POLL_MS : wall ? WALL_POLL_MS : POLL_MS);
}

document.addEventListener("visibilitychange", () => { for (const card of cards.values()) if (document.hidden) card.look(""); });
poll();
