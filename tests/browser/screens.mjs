/**
 * Takes the pictures of docs/: node screens.mjs URL FOLDER, while `streamser demo --web` runs
 * (URL is its address) and has just begun. STREAMSER_PLAYWRIGHT: the folder with playwright-core.
 */
import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(join(process.env.STREAMSER_PLAYWRIGHT, "x.js"))(
  "playwright-core",
);
const [url, folder] = process.argv.slice(2);
/** When there is most to see: happy, angry and sad have been, and somebody is speaking. */
const MOMENT_S = 69;
const MOST_BYTES = 300_000;
const WIDE = { width: 1330, height: 832 };
const VIEWS = [
  { name: "web-dark", colorScheme: "dark", viewport: WIDE },
  { name: "web-light", colorScheme: "light", viewport: WIDE },
  {
    name: "web-phone",
    colorScheme: "dark",
    viewport: { width: 390, height: 844 },
    deviceScaleFactor: 2,
    isMobile: true,
  },
];

const watching = new URL("/?meeting=demo&watch=1", url).href;
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--no-first-run", "--disable-background-networking"],
});
const errors = [];

async function open({ name, viewport, ...options }, address) {
  const page = await (await browser.newContext({ viewport, ...options })).newPage();
  page.on("pageerror", (error) => errors.push(`${name}: ${error.message}`));
  page.on(
    "console",
    (message) => message.type() === "error" && errors.push(`${name}: ${message.text()}`),
  );
  await page.goto(address);
  return page;
}

async function shoot(page, name) {
  const { length } = await page.screenshot({ path: join(folder, `${name}.png`) });
  console.log(name, length, length > MOST_BYTES ? "TOO BIG" : "");
}

const consent = await open(
  { name: "web-consent", colorScheme: "light", viewport: { ...WIDE, height: 890 } },
  new URL("/?meeting=Monday", url).href,
);
await consent.waitForTimeout(500);
await shoot(consent, "web-consent");
const began = Date.now();
const pages = await Promise.all(VIEWS.map((view) => open(view, watching)));
await pages[0].waitForTimeout(Math.max(0, MOMENT_S * 1000 - (Date.now() - began)));
// At a moment when somebody speaks and words of it are there.
for (let n = 0; n < 80; n += 1) {
  const words = await pages[0].evaluate(
    () => document.querySelector("#live-rows .text")?.textContent.length ?? 0,
  );
  if (words > 12) break;
  await pages[0].waitForTimeout(100);
}
for (const [n, { name }] of VIEWS.entries()) await shoot(pages[n], name);
await browser.close();
if (errors.length) {
  console.error(errors.join("\n"));
  process.exitCode = 1;
}
