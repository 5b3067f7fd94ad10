/*
 * Drives @jupyterlab/services, as JupyterLab and VS Code use it, through one scenario:
 *
 *     node services.mjs SCENARIO [ARGUMENT]
 *
 * BASE_URL and TOKEN say where (REFERENCE: that it is a Jupyter Server); PROTOCOL=legacy makes it offer no
 * subprotocol. It prints what it saw as one
 * line of JSON; test_services.py says what that must be. Whatever never comes ends in a failure that names it.
 */
import { createRequire } from 'node:module';
import net from 'node:net';
import WS from 'ws';

const require = createRequire(import.meta.url);
const { KernelManager, KernelSpecManager, ServerConnection, SessionManager, ContentsManager, Drive } =
    require('@jupyterlab/services');

const PATIENCE_MS = 45000;
const { BASE_URL, TOKEN, PROTOCOL, REFERENCE } = process.env;

/* What a client says of its connection is not this program's output. */
console.log = console.debug = console.warn = console.info = console.error = (...words) =>
    process.stderr.write(words.join(' ') + '\n');

/* The client leaves promises of its own behind when kernels restart; in a page that is a line on the console. */
process.on('unhandledRejection', error => console.error('unhandled:', error?.message));

class Legacy extends WS {
    constructor(url) {
        super(url);
    }
}

function within(promise, what, ms = PATIENCE_MS) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error('did not come in time: ' + what)), ms);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function settingsOf(baseUrl) {
    return ServerConnection.makeSettings({
        baseUrl,
        wsUrl: baseUrl.replace(/^http/, 'ws'),
        token: TOKEN,
        appendToken: true,
        WebSocket: PROTOCOL === 'legacy' ? Legacy : WS,
    });
}

/* The first emission of a signal that `accept` likes. */
function emitted(signal, accept, what) {
    let slot;
    return within(
        new Promise(resolve => {
            slot = (sender, value) => {
                if (accept(value)) resolve(value);
            };
            signal.connect(slot);
        }),
        what
    ).finally(() => signal.disconnect(slot));
}

async function open(settings, model = {}) {
    const kernels = new KernelManager({ serverSettings: settings });
    const sessions = new SessionManager({ kernelManager: kernels, serverSettings: settings });
    await within(sessions.ready, 'the session manager');
    const name = model.path ?? 'work-' + Math.random().toString(36).slice(2) + '.ipynb';
    const session = await within(
        sessions.startNew({ path: name, name, type: 'notebook', kernel: { name: 'python3' }, ...model }),
        'a session'
    );
    return { kernels, sessions, session, kernel: session.kernel };
}

/* Runs code; resolves to what came: outputs in order, the reply, the states between. */
async function run(kernel, code, { content = {}, onOutput, what } = {}) {
    const future = kernel.requestExecute({ code, ...content });
    const outputs = [];
    const states = [];
    future.onIOPub = msg => {
        const kind = msg.header.msg_type;
        if (kind === 'status') {
            states.push(msg.content.execution_state);
        } else {
            outputs.push({ kind, ...msg.content });
            onOutput?.(outputs.at(-1));
        }
    };
    future.onStdin = msg => onOutput?.({ kind: msg.header.msg_type, header: msg.header, ...msg.content });
    const reply = await within(future.done, what ?? 'the end of ' + JSON.stringify(code.slice(0, 60)));
    return { outputs, states, reply: reply.content, text: textOf(outputs) };
}

function textOf(outputs, name = 'stdout') {
    return outputs
        .filter(o => o.kind === 'stream' && o.name === name)
        .map(o => o.text)
        .join('');
}

/* A message's buffer is an ArrayBuffer or a view, as the protocol has it. */
const bytesOf = b =>
    ArrayBuffer.isView(b) ? new Uint8Array(b.buffer, b.byteOffset, b.byteLength) : new Uint8Array(b);

/* REST beside the client: Caesarion's own API of the kernel's sandbox. */
async function rest(method, path, body) {
    const root = BASE_URL.replace(/(\/api\/sandboxes\/[^/]+)?\/jupyter\/$/, '');
    const answer = await fetch(root + path, {
        method,
        headers: { Authorization: 'Bearer ' + TOKEN, 'Content-Type': 'application/json' },
        body: body && JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer.status === 200 ? answer.json() : null;
}

/* An empty file where the kernel works. */
async function putFile(settings, kernel, name) {
    if (REFERENCE) {
        const contents = new Drive({ serverSettings: settings });
        await contents.save(name, { type: 'file', format: 'text', content: '' });
    } else {
        await rest('PUT', `${boxOf(kernel)}/files/${name}`);
    }
}

const boxOf = kernel => '/api/sandboxes/sb-' + kernel.id.slice(0, -3) + '000';

/* [[first, last], …] of numbers that count up by one. */
function runsOf(numbers) {
    const runs = [];
    for (const n of numbers) {
        if (runs.length && runs.at(-1)[1] === n - 1) runs.at(-1)[1] = n;
        else runs.push([n, n]);
    }
    return runs;
}

/* A TCP proxy whose WebSockets can be cut and refused. */
class Cutter {
    constructor(url) {
        const { hostname, port } = new URL(url);
        this.refuse = 0;
        this.refused = 0;
        this.sockets = new Set();
        this.server = net.createServer(client => {
            client.on('error', () => {});
            client.once('data', first => {
                const isSocket = first.includes('/channels');
                if (isSocket && this.refuse > 0) {
                    this.refuse--;
                    this.refused++;
                    client.destroy();
                    return;
                }
                const server = net.connect(Number(port), hostname);
                server.on('error', () => client.destroy());
                server.on('close', () => client.destroy());
                client.on('close', () => server.destroy());
                server.write(first);
                client.pipe(server).pipe(client);
                if (isSocket) {
                    this.sockets.add(client);
                    client.on('close', () => this.sockets.delete(client));
                }
            });
        });
    }

    async listen() {
        await new Promise(resolve => this.server.listen(0, '127.0.0.1', resolve));
        return this.server.address().port;
    }

    cut(refuse) {
        this.refuse = refuse;
        const cut = this.sockets.size;
        for (const socket of this.sockets) socket.resetAndDestroy();
        return cut;
    }

    close() {
        for (const socket of this.sockets) socket.destroy();
        this.server.close();
    }
}

const scenarios = {
    async execute(settings) {
        const { session, kernel, sessions, kernels } = await open(settings);
        const info = await within(kernel.info, 'kernel_info');
        const ran = await run(
            kernel,
            [
                'import sys',
                "print('to stdout')",
                "print('to stderr', file=sys.stderr)",
                "display({'text/plain': 'shown', 'text/html': '<b>shown</b>'}, raw=True)",
                '6 * 7',
            ].join('\n')
        );
        const failed = await run(kernel, "{}['absent']");
        const silent = await run(kernel, 'x = 5', {
            content: { silent: true, user_expressions: { x: 'x + 1' } },
        });
        const complete = await within(kernel.requestComplete({ code: 'import o', cursor_pos: 8 }), 'completion');
        const inspect = await within(
            kernel.requestInspect({ code: 'print', cursor_pos: 5, detail_level: 0 }),
            'inspection'
        );
        const history = await within(
            kernel.requestHistory({ hist_access_type: 'tail', n: 5, raw: true, output: false }),
            'history'
        );
        const isComplete = await within(kernel.requestIsComplete({ code: 'for i in range(3):' }), 'is_complete');
        await sessions.refreshRunning();
        await kernels.refreshRunning();
        const listed = {
            sessions: Array.from(sessions.running()).some(s => s.id === session.id && s.kernel.id === kernel.id),
            kernels: Array.from(kernels.running()).some(k => k.id === kernel.id),
        };
        const raw = await ServerConnection.makeRequest(settings.baseUrl + 'api/kernels/' + kernel.id, {}, settings);
        const model = await raw.json();
        const id = kernel.id;
        await within(session.shutdown(), 'the end of the session');
        await sessions.refreshRunning();
        return {
            protocol: kernel._selectedProtocol ?? '',
            model,
            id,
            info: { name: info.language_info.name, implementation: info.implementation },
            ran,
            failed,
            silent: { reply: silent.reply, kinds: silent.outputs.map(o => o.kind) },
            completes: complete.content.matches.includes('os'),
            inspects: inspect.content.found,
            remembers: history.content.history.map(h => h[2]).includes("{}['absent']"),
            isComplete: isComplete.content.status,
            listed,
            gone: !Array.from(sessions.running()).some(s => s.id === session.id),
        };
    },

    /* Output that is larger than one message may be. */
    async much(settings, bytes) {
        const { session, kernel } = await open(settings);
        const ran = await run(kernel, `print('0123456789abcde\\n' * (${bytes} // 16), end='')`);
        await session.shutdown();
        const text = ran.text;
        return {
            length: text.length,
            whole: text === '0123456789abcde\n'.repeat(bytes / 16),
            largest: Math.max(...ran.outputs.filter(o => o.kind === 'stream').map(o => o.text.length)),
        };
    },

    async interrupt(settings) {
        const { session, kernel } = await open(settings);
        let interrupted;
        const ran = await run(kernel, "import time\nprint('on', flush=True)\ntime.sleep(300)", {
            onOutput: output => {
                if (output.kind === 'stream') interrupted ??= kernel.interrupt();
            },
        });
        await within(interrupted, 'the answer to the interrupt');
        const after = await run(kernel, "print('alive')");
        await session.shutdown();
        return { reply: ran.reply, kinds: ran.outputs.map(o => o.kind), after: after.text };
    },

    async restart(settings) {
        const { session, kernel } = await open(settings);
        await run(kernel, 'kept = 1');
        const states = [];
        kernel.statusChanged.connect((_, state) => states.push(state));
        const id = kernel.id;
        await within(kernel.restart(), 'the restart');
        const after = await run(kernel, 'kept');
        const again = await run(kernel, '1 + 1');
        const sameId = kernel.id === id;
        await session.shutdown();
        return { states, after: after.reply, again: again.reply, sameId };
    },

    /* While a cell runs, and several times. */
    async restarts(settings, times) {
        const { session, kernel } = await open(settings);
        const texts = [];
        for (let i = 0; i < Number(times); i++) {
            kernel.requestExecute({ code: 'import time; time.sleep(300)' }).done.catch(() => {});
            await within(kernel.restart(), 'restart ' + i);
            texts.push((await run(kernel, `print(${i})`)).text);
        }
        await session.shutdown();
        return { texts };
    },

    async comm(settings, size) {
        const { session, kernel } = await open(settings);
        const bytes = Uint8Array.from({ length: Number(size) }, (_, i) => (i * 7 + (i >> 8)) & 255);
        const all = Uint8Array.from({ length: 256 }, (_, i) => i);
        await run(
            kernel,
            [
                'from comm import create_comm, get_comm_manager',
                'def opened(comm, msg):',
                "    comm.send({'got': [len(b) for b in msg['buffers']], 'data': msg['content']['data']})",
                '    @comm.on_msg',
                '    def echo(msg):',
                "        comm.send({'echo': msg['content']['data']}, buffers=[bytes(b)[::-1] for b in msg['buffers']])",
                "get_comm_manager().register_target('mirror', opened)",
            ].join('\n')
        );
        const comm = kernel.createComm('mirror');
        const messages = [];
        let next;
        comm.onMsg = msg => {
            messages.push(msg);
            next?.();
        };
        const answer = async n => {
            while (messages.length < n)
                await within(new Promise(resolve => (next = resolve)), `message ${n} of the comm`);
            return messages[n - 1];
        };
        comm.open({ hello: 'wörld' }, {}, [all.buffer]);
        const opened = (await answer(1)).content.data;
        comm.send({ n: 1 }, {}, [bytes.buffer, all.buffer, new ArrayBuffer(0)]);
        const echoed = await answer(2);
        const back = echoed.buffers.map(bytesOf);
        const sentBack = [bytes, all, new Uint8Array(0)].map(b => Uint8Array.from(b).reverse());
        const intact = back.length === 3 && back.every((b, i) => Buffer.compare(b, sentBack[i]) === 0);

        const theirs = new Promise(resolve =>
            kernel.registerCommTarget('ours', (c, msg) => resolve({ c, msg }))
        );
        await run(kernel, "mine = create_comm(target_name='ours', data={'a': 1}, buffers=[bytes(range(256)) * 4])");
        const { c, msg } = await within(theirs, "the kernel's comm");
        const fromKernel = Buffer.compare(bytesOf(msg.buffers[0]), Buffer.concat([all, all, all, all]));
        const info = await within(kernel.requestCommInfo({ target_name: 'ours' }), 'comm_info');
        const closed = new Promise(resolve => (c.onClose = resolve));
        await run(kernel, 'mine.close()');
        await within(closed, 'the close of the comm');
        await session.shutdown();
        return {
            opened,
            echoed: echoed.content.data,
            intact,
            fromKernel: { data: msg.content.data, intact: fromKernel === 0 },
            listed: Object.keys(info.content.comms).length,
        };
    },

    async stdin(settings) {
        const { session, kernel } = await open(settings);
        const asked = [];
        const ran = await run(kernel, "import getpass\nprint(input('name? '), getpass.getpass('word? '))", {
            content: { allow_stdin: true },
            onOutput: output => {
                if (output.kind !== 'input_request') return;
                asked.push({ prompt: output.prompt, password: output.password });
                kernel.sendInputReply({ status: 'ok', value: 'answer ' + asked.length }, output.header);
            },
        });
        const refused = await run(kernel, 'input()', { content: { allow_stdin: false } });
        await session.shutdown();
        return { asked, text: ran.text, refused: refused.reply.ename };
    },

    /*
     * The connection is lost under a cell that prints, and the next attempts are refused. What the cell printed
     * before has all arrived, or (`amid`) some is on its way.
     */
    async reconnect(settings, refusals, amid) {
        const cutter = new Cutter(settings.baseUrl);
        const url = new URL(settings.baseUrl);
        url.port = await cutter.listen();
        const { session, kernel } = await open(settingsOf(url.href));
        await within(kernel.info, 'kernel_info');
        const clientId = kernel.clientId;
        const early = 20;
        const lines = 300;
        const code = `import os, time
for i in range(${lines}):
    print(i, flush=True)
    while i == ${early} - 1 and ${amid ? 'False' : "not os.path.exists('go')"}:
        time.sleep(.01)
    time.sleep(.005)
i`;
        let cut = 0;
        const seen = [];
        const ran = await run(kernel, code, {
            onOutput: output => {
                if (output.kind !== 'stream') return;
                seen.push(...output.text.split('\n').filter(Boolean).map(Number));
                if (!cut && seen.at(-1) >= early - 1) {
                    cut = cutter.cut(Number(refusals));
                    if (!amid) void putFile(settings, kernel, 'go');
                }
            },
        });
        const after = await run(kernel, "print('after')");
        const result = {
            cut,
            refused: cutter.refused,
            runs: runsOf(seen),
            kinds: ran.outputs.filter(o => o.kind !== 'stream').map(o => o.kind),
            reply: ran.reply,
            after: after.text,
            sameClient: kernel.clientId === clientId,
        };
        await session.shutdown();
        session.dispose();
        cutter.close();
        return result;
    },

    /* What the API runs is another client's execution here, and the reverse. */
    async shared(settings) {
        const { session, kernel } = await open(settings);
        await within(kernel.info, 'kernel_info');
        const seen = [];
        kernel.anyMessage.connect((_, { msg, direction }) => {
            if (direction === 'recv' && msg.channel === 'iopub')
                seen.push({
                    kind: msg.header.msg_type,
                    mine: msg.parent_header.session === kernel.clientId,
                    parent: msg.parent_header.msg_id,
                    content: msg.content,
                });
        });
        const idle = emitted(
            kernel.iopubMessage,
            msg =>
                msg.header.msg_type === 'status' &&
                msg.content.execution_state === 'idle' &&
                msg.parent_header.msg_type === 'execute_request' &&
                msg.parent_header.session !== kernel.clientId,
            "the idle of the API's execution"
        );
        const byApi = await rest('POST', boxOf(kernel) + '/execute', {
            code: "shared = 40\nprint('by the API')\nshared + 1",
            kernel_id: kernel.id,
        });
        await idle;
        const ran = await run(kernel, "print('by the client', shared)\nshared + 2");
        const list = await rest('GET', boxOf(kernel) + '/executions');
        const mine = list.executions.find(e => e.code.includes('by the client'));
        const whole = mine && (await rest('GET', boxOf(kernel) + '/executions/' + mine.id));
        await session.shutdown();
        return { byApi, seen: seen.filter(s => !s.mine), ran, mine: whole ?? null };
    },

    /* The kernel dies under a request; the same socket goes on. */
    async death(settings) {
        const { session, kernel } = await open(settings);
        await within(kernel.info, 'kernel_info');
        const states = [];
        kernel.statusChanged.connect((_, state) => states.push(state));
        const started = Date.now();
        const ran = await run(kernel, "import os\nprint('last words', flush=True)\nos._exit(3)");
        const ms = Date.now() - started;
        const after = await run(kernel, "print('alive')");
        await session.shutdown();
        return { ms, reply: ran.reply, kinds: ran.outputs.map(o => o.kind), states, after: after.text };
    },

    async specs(settings) {
        const specs = new KernelSpecManager({ serverSettings: settings });
        await within(specs.ready, 'the kernel specs');
        const spec = specs.specs.kernelspecs[specs.specs.default];
        const logos = {};
        for (const [name, path] of Object.entries(spec.resources)) {
            const url = new URL(path, settings.baseUrl).href;
            const answer = await ServerConnection.makeRequest(url, {}, settings);
            const bytes = new Uint8Array(await answer.arrayBuffer());
            logos[name] = { status: answer.status, type: answer.headers.get('content-type'), size: bytes.length };
        }
        return { default: specs.specs.default, language: spec.language, name: spec.display_name, logos };
    },

    async contents(settings) {
        const contents = new ContentsManager({ serverSettings: settings, defaultDrive: new Drive({ serverSettings: settings }) });
        const errors = [];
        const notebook = {
            cells: [{ cell_type: 'code', id: 'a', execution_count: null, metadata: {}, outputs: [], source: 'x' }],
            metadata: {},
            nbformat: 4,
            nbformat_minor: 5,
        };
        const folder = await contents.newUntitled({ type: 'directory', path: '' });
        const named = await contents.rename(folder.path, 'wörk 1');
        const book = await contents.save('wörk 1/book.ipynb', { type: 'notebook', format: 'json', content: notebook });
        const text = await contents.save('wörk 1/a.txt', { type: 'file', format: 'text', content: 'grüße\n' });
        await contents.save('wörk 1/b.bin', { type: 'file', format: 'base64', content: 'AAECAwQF/w==' });
        const untitled = await contents.newUntitled({ type: 'notebook', path: 'wörk 1' });
        const readBook = await contents.get('wörk 1/book.ipynb');
        const readText = await contents.get('wörk 1/a.txt');
        const readBin = await contents.get('wörk 1/b.bin', {
            type: 'file',
            format: 'base64',
            content: true,
        });
        const bare = await contents.get('wörk 1/book.ipynb', { content: false });
        const copied = await contents.copy('wörk 1/a.txt', 'wörk 1');
        const moved = await contents.rename(copied.path, 'wörk 1/moved.txt');
        const list = await contents.get('wörk 1');
        const checkpoints = await contents.listCheckpoints('wörk 1/book.ipynb');
        for (const item of list.content) await contents.delete(item.path);
        await contents.delete('wörk 1');
        const root = await contents.get('');
        await contents.get('absent.txt').catch(e => errors.push(e.response?.status));
        const download = await contents.getDownloadUrl('a.txt');
        contents.dispose();
        return {
            folder: folder.type,
            named: named.path,
            book: { type: book.type, path: book.path, writable: book.writable },
            text: { mimetype: text.mimetype, name: text.name },
            untitled: untitled.path,
            readBook: readBook.content,
            readText: { content: readText.content, format: readText.format, type: readText.type },
            readBin: { content: readBin.content, format: readBin.format },
            bare: { content: bare.content, format: bare.format },
            moved: moved.path,
            list: list.content.map(i => [i.name, i.type, i.content]).sort(),
            checkpoints,
            root: root.content.map(i => i.name),
            errors,
            download,
        };
    },
};

const [name, ...args] = process.argv.slice(2);
within(scenarios[name](settingsOf(BASE_URL), ...args), 'the end of the scenario', 2 * PATIENCE_MS).then(
    found => {
        process.stdout.write(JSON.stringify(found) + '\n', () => process.exit(0));
    },
    error => {
        process.stderr.write((error.stack ?? error) + '\n');
        process.exit(1);
    }
);
