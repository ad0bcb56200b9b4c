// axe-core on reports in Chromium, in both themes, on a phone and on a desk; the same with screenshots and a PDF beside each.
//   npm install --prefix /tmp/axe axe-core puppeteer-core    (apt-get install chromium)
//   NODE_MODULES=/tmp/axe/node_modules node tests/browser/axe.mjs report.html…
import {createRequire} from 'node:module';
import {readFileSync} from 'node:fs';
import {resolve} from 'node:path';

const load = createRequire(resolve(process.env.NODE_MODULES ?? 'node_modules', 'x.js'));
const axe = readFileSync(load.resolve('axe-core/axe.min.js'), 'utf8');
const browser = await load('puppeteer-core').launch({executablePath: '/usr/bin/chromium', args: ['--no-sandbox'], protocolTimeout: 600000});
let faults = 0;
const fault = (...words) => { faults++; console.log(...words); };
for (const file of process.argv.slice(2)) {
  const page = await browser.newPage();
  await page.setBypassCSP(true); // axe itself is a script
  page.on('request', asked => /^(data|file):/.test(asked.url()) || fault(file, 'asks for', asked.url()));
  for (const value of ['light', 'dark']) for (const width of [360, 1280]) {
    await page.emulateMediaFeatures([{name: 'prefers-color-scheme', value}]);
    await page.setViewport({width, height: 800});
    await page.goto(`file://${resolve(file)}`);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (over > 0) fault(file, width, 'is wider than the window by', over);
    await page.screenshot({path: `${file}.${width}.${value}.png`, fullPage: true});
    await page.evaluate(axe);
    const {violations, passes} = await page.evaluate(() => axe.run());
    for (const one of violations) fault(file, width, value, one.id, one.nodes[0].failureSummary);
    console.log(file, width, value, violations.length, 'violations,', passes.length, 'rules passed');
  }
  await page.pdf({path: `${file}.pdf`, format: 'A4'});
  await page.close();
}
await browser.close();
process.exit(faults ? 1 : 0);
