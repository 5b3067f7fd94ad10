/*
 * A reverse proxy as one would stand before both: /api/* and /kernelspecs/* are a Jupyter server elsewhere, the
 * rest is JupyterLab's page and its own resources.
 *
 *     node front.mjs SERVER_URL PAGES_URL      prints its port
 *
 * It passes on what comes, heads included, and knows nothing of Jupyter. SERVER_TOKEN, if set, stands in for
 * whatever the page says of itself. Each request to the server is a line on stderr.
 */
import http from 'node:http';
import net from 'node:net';

const [server, pages] = process.argv.slice(2).map(url => new URL(url));
const token = process.env.SERVER_TOKEN;

function targetOf(url) {
    const theirs = /^\/(api|kernelspecs)(\/|\?|$)/.test(url);
    const target = theirs ? server : pages;
    return { theirs, target, path: target.pathname.replace(/\/$/, '') + url };
}

function headersOf(request, theirs) {
    const headers = { ...request.headers };
    if (theirs && token) {
        headers.authorization = 'token ' + token;
        delete headers.cookie;
    }
    return headers;
}

const front = http.createServer((request, response) => {
    const { theirs, target, path } = targetOf(request.url);
    const options = { host: target.hostname, port: target.port, method: request.method, path };
    const upstream = http.request({ ...options, headers: headersOf(request, theirs) }, answer => {
        if (theirs) console.error(answer.statusCode, request.method, path);
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
    request.pipe(upstream);
});

front.on('upgrade', (request, client, head) => {
    const { theirs, target, path } = targetOf(request.url);
    const upstream = net.connect(Number(target.port), target.hostname, () => {
        const headers = Object.entries(headersOf(request, theirs)).map(([name, value]) => `${name}: ${value}\r\n`);
        upstream.write(`${request.method} ${path} HTTP/1.1\r\n${headers.join('')}\r\n`);
        upstream.write(head);
        client.setNoDelay(true);
        upstream.setNoDelay(true);
        upstream.pipe(client).pipe(upstream);
    });
    if (theirs) upstream.once('data', data => console.error(data.subarray(9, 12).toString(), 'WS', path));
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
        from.on('error', () => to.destroy());
        from.on('close', () => to.destroy());
    }
});

front.listen(0, '127.0.0.1', () => console.log(front.address().port));
