/**
 * Drives the page in Chromium for test_page.py. Arguments: one JSON object; answers: JSON lines.
 *
 * A line {"step": …} asks the caller to do something and to answer with a line on stdin; the
 * last line is {"result": …}. `playwright-core` is found in the folder of STREAMSER_PLAYWRIGHT.
 */
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join } from "node:path";

const { chromium } = createRequire(join(process.env.STREAMSER_PLAYWRIGHT, "x.js"))(
  "playwright-core",
);
const task = JSON.parse(process.argv[2]);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const tell = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const ask = async (step) => {
  tell({ step });
  return (await lines.next()).value;
};

const QUIET = [
  "--no-sandbox",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-quic",
  "--use-fake-ui-for-media-stream",
  "--use-fake-device-for-media-stream",
];

/** Count pixels near the colour of a CSS variable, and how many colours there are in all. */
function look([selector, variable]) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
  const wanted = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return [...document.querySelectorAll(selector)].map((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    let near = 0;
    for (let n = 0; n < data.length; n += 4) {
      if (!data[n + 3]) continue;
      colours.add((data[n] << 16) | (data[n + 1] << 8) | data[n + 2]);
      if (wanted.every((value, part) => Math.abs(value - data[n + part]) < 14)) near += 1;
    }
    return { near, colours: colours.size };
  });
}

/** Wait for something to be true in the page; Playwright's own way needs `eval`, which the CSP forbids. */
async function waitUntil(page, condition, timeout = 20_000) {
  const end = Date.now() + timeout;
  while (!(await page.evaluate(condition))) {
    if (Date.now() > end) throw new Error(`never came true: ${condition}`);
    await page.waitForTimeout(100);
  }
}

const IS_LIVE = "states.at(-1) === 'live'";

const readRows = () =>
  [...document.querySelectorAll("#rows .row")].map((row) => ({
    speaker: row.querySelector(".name").textContent,
    category: row.dataset.emotion,
    badge: row.querySelector(".badge span")?.textContent ?? null,
    text: row.querySelector(".text").textContent,
  }));

/** Drag over the first plot and go back; tells whether the way back was offered, and then gone. */
async function zoom(page) {
  const back = page.locator("#follow");
  const plot = await page.locator(".u-over").first().boundingBox();
  const at = (share) => [plot.x + plot.width * share, plot.y + plot.height / 2];
  await page.mouse.move(...at(0.5));
  await page.mouse.down();
  await page.mouse.move(...at(0.8), { steps: 4 });
  await page.mouse.up();
  await page.waitForTimeout(300);
  const offered = await back.isVisible();
  await page.mouse.move(...at(0.6));
  await page.waitForTimeout(200);
  const tip = await page.locator(".tip").innerText();
  await page.keyboard.press("Escape");
  await back.click();
  return { offered, tip, gone: !(await back.isVisible()) };
}

async function run() {
  const args = [...QUIET];
  if (task.wav) args.push(`--use-file-for-fake-audio-capture=${task.wav}%noloop`);
  const browser = await chromium.launch({ executablePath: task.chromium, headless: true, args });
  const errors = [];
  try {
    const context = await browser.newContext({
      viewport: task.viewport ?? { width: 1440, height: 900 },
      colorScheme: task.theme ?? "dark",
    });
    const page = await context.newPage();
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    await page.addInitScript(() => {
      window.opened = 0;
      window.states = [];
      const { mediaDevices } = navigator;
      const open = mediaDevices?.getUserMedia.bind(mediaDevices);
      if (open)
        mediaDevices.getUserMedia = (wanted) => (
          (window.opened += 1),
          (window.wanted = wanted),
          open(wanted)
        );
      addEventListener("DOMContentLoaded", () => {
        const pill = document.getElementById("connection");
        new MutationObserver(() => {
          if (window.states.at(-1) !== pill.dataset.state) window.states.push(pill.dataset.state);
        }).observe(pill, { attributes: true, attributeFilter: ["data-state"] });
      });
    });
    await page.goto(task.url);
    const result = await SCENARIOS[task.scenario](page);
    tell({ result: { ...result, errors } });
  } finally {
    await browser.close();
  }
}

const SCENARIOS = {
  async consent(page) {
    const button = page.locator("#enter");
    await page.fill("#meeting", "board");
    await page.fill("#speaker", "Ada");
    const before = { opened: await page.evaluate("opened"), disabled: await button.isDisabled() };
    // Neither a click nor the Enter key gets around the tick.
    await button.click({ force: true, timeout: 1000 }).catch(() => {});
    await page.press("#speaker", "Enter");
    await page.waitForTimeout(500);
    const refused = {
      opened: await page.evaluate("opened"),
      screen: await page.getAttribute("body", "data-screen"),
    };
    const text = await page.locator(".consent").innerText();
    await page.check("#agree");
    await button.click();
    await waitUntil(page, "document.body.dataset.screen === 'view'");
    const after = { opened: await page.evaluate("opened"), wanted: await page.evaluate("wanted") };
    return { before, refused, after, text };
  },

  async watch(page) {
    await page.check("input[value=watch]", { force: true });
    await page.fill("#meeting", "board");
    await page.click("#enter");
    await waitUntil(page, IS_LIVE);
    return { opened: await page.evaluate("opened") };
  },

  /** Watch a meeting while its server dies; hand out what was told once `task.rows` are there. */
  async elsewhere(page) {
    await page.check("input[value=watch]", { force: true });
    await page.fill("#meeting", task.meeting);
    await page.click("#enter");
    await waitUntil(page, IS_LIVE);
    await waitUntil(page, "document.querySelectorAll('#rows .row').length > 2", 30_000);
    const people = await page.$$eval("#people .name", (found) => found.map((x) => x.textContent));
    await ask("kill");
    await waitUntil(page, `document.querySelectorAll('#rows .row').length >= ${task.rows}`, 60_000);
    await ask("spoken");
    await page.waitForTimeout(1000);
    await page.click("#export > button");
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.click("[data-format=jsonl]"),
    ]);
    await download.saveAs(join(task.folder, "export.jsonl"));
    const rows = await page.evaluate(readRows);
    return { people, rows, states: await page.evaluate("states") };
  },

  /** Choose one of the meetings that are held, while somebody speaks in it. */
  async held(page) {
    await page.fill("#meeting", "board");
    await page.fill("#speaker", "Ada");
    await page.check("#agree");
    await page.click("#enter");
    await waitUntil(page, IS_LIVE);
    const guest = await page.context().newPage();
    await guest.goto(task.url);
    await guest.check("input[value=watch]", { force: true });
    await waitUntil(guest, "document.querySelector('#held-list button') !== null");
    const offered = await guest.innerText("#held-list");
    await guest.click("#held-list button");
    await waitUntil(guest, "document.body.dataset.screen === 'view'");
    await waitUntil(guest, "document.querySelector('#people .name') !== null");
    return {
      offered,
      meeting: await guest.innerText("#meeting-name"),
      people: await guest.innerText("#people .name"),
    };
  },

  /** Join, and wait for the first utterance. */
  async heard(page) {
    await page.fill("#meeting", "board");
    await page.fill("#speaker", "Ada");
    await page.check("#agree");
    await page.click("#enter");
    await waitUntil(page, "document.querySelector('#rows .row') !== null", 40_000);
    await page.waitForTimeout(500);
    return {
      rows: await page.evaluate(readRows),
      late: await page.isVisible("#late"),
      mood: await page.innerText("#mood-scores"),
      legend: await page.innerText("#line-legend"),
      diamond: await page.isVisible("#diamond"),
      told: await page.evaluate("document.getElementById('trouble').hidden"),
    };
  },

  /** Say who voices are, by keyboard and by pointer; the server's answers are those of the task. */
  async naming(page) {
    await page.evaluate(async (events) => {
      const load = (name) => import(new URL(name, location.href).href);
      const { Store } = await load("store.js");
      const { Transcript } = await load("transcript.js");
      const { People } = await load("panels.js");
      const { Naming } = await load("naming.js");
      document.getElementById("setup").hidden = true;
      for (const id of ["view", "mic", "forget"]) document.getElementById(id).hidden = false;
      document.body.dataset.screen = "view";
      window.sent = [];
      const command = (type, fields = {}) => Boolean(window.sent.push({ type, ...fields }));
      const store = new Store();
      const tell = (message) => (document.querySelector("#trouble span").textContent = message);
      const naming = new Naming(store, { session: "s", command }, tell);
      const names = {
        mayName: (each) => naming.mayName(each),
        onName: (speaker, utterance) => naming.open(speaker, utterance),
      };
      const [transcript, people] = [new Transcript(store, names), new People(store, names)];
      window.hear = (event) => {
        store.apply(event);
        transcript.draw();
        people.draw();
      };
      events.forEach(window.hear);
    }, task.events);
    const told = () =>
      page.evaluate(() => ({
        rows: [...document.querySelectorAll("#rows .name")].map((name) => name.textContent),
        people: [...document.querySelectorAll("#people .name")].map((name) => name.textContent),
        focus: document.activeElement.textContent,
        open: document.getElementById("naming").open,
      }));
    await page.focus("#rows button.name");
    await page.keyboard.press("Enter");
    await waitUntil(page, "document.getElementById('naming').open");
    const asked = await page.innerText("#naming-title");
    await page.keyboard.type("Ann");
    await page.keyboard.press("Enter");
    const closed = await told();
    await page.evaluate((event) => window.hear(event), task.renamed);
    const renamed = await told();
    await page.locator("#rows button.name").nth(1).click();
    await page.fill("#naming-name", "Ben");
    await page.click("#naming-once");
    await page.evaluate((event) => window.hear(event), task.assigned);
    const assigned = await told();
    await page.locator("#people button.name").first().click();
    const once = await page.isVisible("#naming-once");
    await page.keyboard.press("Escape");
    const left = await told();
    await page.click("#forget");
    return {
      asked,
      closed,
      renamed,
      assigned,
      once,
      left,
      sent: await page.evaluate("sent"),
      forgotten: await page.evaluate("document.querySelector('#trouble span').textContent"),
      fixed: await page.locator("#rows bdi.name").count(),
    };
  },

  /** Tick that several people share the microphone. */
  async several(page) {
    await page.check("#agree");
    await page.check("#several");
    return {
      agreed: await page.isChecked("#agree"),
      name: await page.isDisabled("#speaker"),
      text: await page.innerText(".consent"),
    };
  },

  /** Share a microphone, name the first voice, and have the voices forgotten. */
  async shared(page) {
    const before = await page.isVisible("#forget");
    await page.check("#several");
    await page.check("#agree");
    await page.click("#enter");
    await waitUntil(page, "document.querySelector('#rows button.name') !== null", 60_000);
    const label = await page.innerText("#rows button.name >> nth=0");
    await page.focus("#people button.name");
    await page.keyboard.press("Enter");
    await page.keyboard.type("Ann");
    await page.keyboard.press("Enter");
    await waitUntil(page, "document.querySelector('#rows .name').textContent === 'Ann'");
    await waitUntil(page, "document.querySelector('#people button.name').textContent === 'Ann'");
    const forget = await page.isVisible("#forget");
    await page.click("#forget");
    await page.waitForTimeout(500);
    return {
      before,
      label,
      forget,
      told: await page.innerText("#trouble span"),
      names: (await page.evaluate(readRows)).map(({ speaker }) => speaker),
    };
  },

  async directions(page) {
    await page.evaluate(async (said) => {
      const { Transcript } = await import(new URL("transcript.js", location.href).href);
      const times = { start: 0, end: 1000 };
      const utterances = said.map(([name, transcript], index) => ({
        key: String(index),
        speaker: { name, index },
        transcript,
        parts: [],
        ...times,
      }));
      new Transcript({ utterances, live: new Map() }).draw();
    }, task.said);
    const directions = (found) => found.map((x) => [x.textContent, getComputedStyle(x).direction]);
    return {
      texts: await page.$$eval("#rows .row .text", directions),
      names: await page.$$eval("#rows .row .name", directions),
    };
  },

  async token(page) {
    const address = page.url();
    await page.check("input[value=watch]", { force: true });
    await page.click("#enter");
    await page.waitForSelector("#token-field:visible");
    const message = await page.innerText("#message");
    await page.fill("#token", task.token);
    await page.click("#enter");
    await waitUntil(page, IS_LIVE);
    return { address, message, screen: await page.getAttribute("body", "data-screen") };
  },

  /** Join, and have the token taken away. */
  async withdrawn(page) {
    await page.fill("#speaker", "Ada");
    await page.check("#agree");
    await page.click("#enter");
    await waitUntil(page, IS_LIVE);
    await ask("withdraw");
    await waitUntil(page, "document.querySelector('#trouble span').textContent !== ''");
    await waitUntil(page, "states.at(-1) === 'closed'");
    await page.waitForTimeout(500);
    return { told: await page.innerText("#trouble span") };
  },

  async refused(page) {
    await page.evaluate(() => {
      navigator.mediaDevices.getUserMedia = () =>
        Promise.reject(new DOMException("no", "NotAllowedError"));
    });
    await page.check("#agree");
    await page.click("#enter");
    await page.waitForSelector("#message:visible");
    return {
      message: await page.innerText("#message"),
      screen: await page.getAttribute("body", "data-screen"),
    };
  },

  /** Join while the server loads its models, talk, and let it get ready. */
  async early(page) {
    const seen = () =>
      page.evaluate(() => ({
        pill: document.getElementById("connection").textContent.trim(),
        trouble: document.querySelector("#trouble span").textContent,
      }));
    await page.fill("#meeting", "board");
    await page.fill("#speaker", "Ada");
    await page.check("#agree");
    await page.click("#enter");
    await waitUntil(page, "document.getElementById('connection').textContent.trim() === 'loading models'");
    const loading = await seen();
    await page.waitForTimeout(task.seconds * 1000);
    await ask("ready");
    await waitUntil(page, IS_LIVE);
    const live = await seen();
    await waitUntil(page, "document.querySelectorAll('#rows .row').length > 0");
    return { loading, live };
  },

  /** Speak the recording; `breaks` are seconds of it at which the caller breaks something. */
  async speak(page) {
    await page.fill("#meeting", "board");
    await page.fill("#speaker", "Ada");
    await page.check("#agree");
    await page.click("#enter");
    await waitUntil(page, IS_LIVE);
    const began = Date.now();
    const until = (seconds) =>
      page.waitForTimeout(Math.max(0, began + seconds * 1000 - Date.now()));
    for (const at of task.breaks ?? []) {
      await until(at);
      await ask(`break at ${at}`);
      await waitUntil(page, IS_LIVE, 30_000);
    }
    let live = false;
    while (Date.now() < began + task.seconds * 1000) {
      live ||= await page.evaluate(
        () => document.querySelector("#live-rows .text")?.textContent.length > 3,
      );
      await page.waitForTimeout(250);
    }
    await waitUntil(page, "!document.querySelector('#live-rows .row')").catch(() => {});
    await page.waitForTimeout(1500);
    const result = {
      live,
      rows: await page.evaluate(readRows),
      states: await page.evaluate("states"),
      plane: await page.evaluate(look, ["#plane", "--s-0"]),
      charts: await page.evaluate(look, [".uplot canvas", "--s-0"]),
      shares: await page.innerText("#shares"),
      people: await page.innerText("#people"),
      lag: await page.innerText("#lag"),
      said: await page.evaluate("document.getElementById('said').textContent"),
    };
    for (const format of ["csv", "jsonl"]) {
      await page.click("#export > button");
      const [download] = await Promise.all([
        page.waitForEvent("download"),
        page.click(`[data-format=${format}]`),
      ]);
      await download.saveAs(join(task.folder, `export.${format}`));
    }
    result.zoom = await zoom(page);
    if (task.shot) await page.screenshot({ path: task.shot });
    return result;
  },
};

run().catch((error) => {
  // Whoever asked for it still holds our stdin open.
  process.stderr.write(`${error.stack}\n`, () => process.exit(1));
});
