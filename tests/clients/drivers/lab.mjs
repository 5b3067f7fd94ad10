/*
 * A person at JupyterLab, in headless Chromium: opens the notebook, runs its cells, looks at the plot, moves the
 * slider with the keyboard, saves.
 *
 *     node lab.mjs URL SCREENSHOT      CHROMIUM names the browser, PROFILE an empty folder
 *
 * URL is that of the notebook's page, with a token. Prints what was to be seen as one line of JSON.
 */
import { chromium } from 'playwright-core';

const PATIENCE_MS = 60000;
const [url, shot] = process.argv.slice(2);

function within(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error('did not come in time: ' + what)), PATIENCE_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/* How many pixels of a PNG (base64) have each of these colours, nearly; how many are not white. */
async function colours(page, png, wanted) {
    return page.evaluate(
        async ([data, list]) => {
            const image = new Image();
            image.src = 'data:image/png;base64,' + data;
            await image.decode();
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.width, image.height];
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const { data: rgba } = context.getImageData(0, 0, image.width, image.height);
            const near = (at, colour) => colour.every((part, i) => Math.abs(rgba[at + i] - part) <= 4);
            const found = { width: image.width, height: image.height, drawn: 0, counts: list.map(() => 0) };
            for (let at = 0; at < rgba.length; at += 4) {
                found.drawn += !near(at, [255, 255, 255]);
                list.forEach((colour, i) => (found.counts[i] += near(at, colour)));
            }
            return found;
        },
        [png.toString('base64'), wanted]
    );
}

/* Before its kernel has answered, the page shows it as idle and ignores what would run a cell. */
function kernelAnswers(page) {
    return new Promise(resolve => {
        page.on('websocket', socket => {
            if (!socket.url().includes('/channels')) return;
            socket.on('framereceived', ({ payload }) => {
                if (payload.includes('kernel_info_reply')) resolve();
            });
        });
    });
}

async function main(page) {
    const said = [];
    page.on('console', message => message.type() === 'error' && said.push(message.text().slice(0, 300)));
    page.on('pageerror', error => said.push('page: ' + String(error).slice(0, 300)));
    const found = { said };
    const answered = kernelAnswers(page);
    try {
        await page.goto(url, { waitUntil: 'domcontentloaded' });
        const cells = page.locator('.jp-Notebook .jp-CodeCell');
        await cells.first().waitFor();
        await within(answered, "the kernel's first answer in " + url);
        await page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').waitFor();
        const run = async (index, seen) => {
            await cells.nth(index).locator('.jp-InputArea-editor').click();
            await page.keyboard.press('Control+Enter');
            await cells.nth(index).locator(seen).first().waitFor();
        };

        await run(0, '.jp-OutputArea-output img');
        const image = cells.nth(0).locator('.jp-OutputArea-output img');
        await image.scrollIntoViewIfNeeded();
        await page.waitForFunction(i => i.complete && i.naturalWidth > 0, await image.elementHandle());
        found.plot = await colours(page, await image.screenshot(), [[214, 39, 40], [44, 160, 44], [31, 119, 180]]);

        await run(1, '.widget-slider');
        const handle = cells.nth(1).locator('[role=slider]');
        found.before = await handle.getAttribute('aria-valuetext');
        await handle.focus();
        for (let i = 0; i < 4; i++) await page.keyboard.press('ArrowRight');
        await cells.nth(1).getByText('n squared is 49').waitFor();
        found.after = await handle.getAttribute('aria-valuetext');

        await run(2, '.jp-OutputArea-output');
        await cells.nth(2).getByText("the kernel's n is 7").waitFor();
        found.prompts = await page.locator('.jp-Notebook .jp-CodeCell .jp-InputPrompt').allTextContents();

        await page.keyboard.press('Escape');
        await page.keyboard.press('Control+s');
        await page.locator('.lm-TabBar-tab.jp-mod-current:not(.jp-mod-dirty)').first().waitFor();
    } finally {
        await page.screenshot({ path: shot }).catch(() => {});
    }
    return found;
}

const context = await chromium.launchPersistentContext(process.env.PROFILE, {
    executablePath: process.env.CHROMIUM,
    headless: true,
    viewport: { width: 1200, height: 1000 },
    args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--disable-dev-shm-usage',
    ],
});
context.setDefaultTimeout(PATIENCE_MS);
let status = 0;
try {
    const found = await main(context.pages()[0] ?? (await context.newPage()));
    console.log(JSON.stringify(found));
} catch (error) {
    console.error(error.stack ?? error);
    status = 1;
}
await context.close();
process.exit(status);
