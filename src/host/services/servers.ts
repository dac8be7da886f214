/**
 * The services themselves: each begins to listen and then lives as long as its process.
 * @module
 */
import { createSocket } from 'node:dgram'
import {
  createServer as createHttp,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse
} from 'node:http'
import { createServer as createHttps } from 'node:https'
import { isIPv6, type Server as NetServer } from 'node:net'
import { answerQuestion, readQuestion } from './dns-message.ts'
import { proxyServers } from './proxy-server.ts'
import type { InterceptorPlan, NameServerPlan, PortalPlan, ServiceEvent, ServicePlan } from './types.ts'

const DNS_PORT = 53
const HTTPS_PORT = 443
const CAPPORT_TYPE = 'application/captive+json'

export async function startService(plan: ServicePlan, say: (event: ServiceEvent) => void): Promise<void> {
  switch (plan.service) {
    case 'names':
      return serveNames(plan)
    case 'web':
      return listen(createHttp(serveGenuine), plan.address, plan.port)
    case 'portal':
      return servePortal(plan, say)
    case 'interceptor':
      return serveInterceptor(plan)
    case 'proxy':
      await Promise.all(proxyServers(plan, say).map(({ server, port }) => listen(server, plan.address, port)))
  }
}

function serveNames({ address, names, everything, missing }: NameServerPlan): Promise<void> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  socket.on('message', (query, from) => {
    const question = readQuestion(query)
    if (question === undefined) return
    const found = everything ?? names[question.name] ?? missing
    socket.send(answerQuestion(query, question, found), from.port, from.address)
  })
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(DNS_PORT, address, resolve)
  })
}

function serveGenuine(request: IncomingMessage, response: ServerResponse): void {
  const challenge = request.headers['x-ikestream-challenge']
  if (challenge !== undefined) response.setHeader('x-ikestream-response', `response ${String(challenge)}`)
  if (request.url === '/generate_204') response.writeHead(204).end()
  else if (request.url === '/success.txt') response.end('success\n')
  else response.writeHead(404).end('Not found\n')
}

async function servePortal(plan: PortalPlan, say: (event: ServiceEvent) => void): Promise<void> {
  let isOpen = false
  const loginUrl = `http://${plan.name}/login`
  const pages: RequestListener = (request, response) => {
    const host = (request.headers.host ?? '').replace(/:\d+$/, '')
    if (host !== plan.name) {
      stopHere(plan, loginUrl, response)
      return
    }
    if (request.method === 'POST') {
      isOpen = true
      say({ event: 'login', from: request.socket.remoteAddress ?? '' })
      response.end('Welcome.\n')
      return
    }
    response.writeHead(200, { 'content-type': 'text/html' }).end(loginPage(loginUrl))
  }
  await listen(createHttp(pages), plan.address, plan.port)
  if (plan.api === undefined) return
  const status: RequestListener = (_request, response) => {
    const body = isOpen
      ? { captive: false, 'user-portal-url': `https://${plan.name}/login`, 'seconds-remaining': 3600 }
      : { captive: true, 'user-portal-url': `https://${plan.name}/login` }
    response.writeHead(200, { 'content-type': CAPPORT_TYPE, 'cache-control': 'private' })
    response.end(JSON.stringify(body))
  }
  const identity = { cert: plan.api.certificatePem, key: plan.api.keyPem }
  await listen(createHttps(identity, status), plan.address, HTTPS_PORT)
}

function stopHere({ manner }: PortalPlan, loginUrl: string, response: ServerResponse): void {
  if (manner === 'redirect') response.writeHead(302, { location: loginUrl }).end()
  else
    response
      .writeHead(manner === 'page' ? 200 : 511, { 'content-type': 'text/html' })
      .end(loginPage(loginUrl))
}

function loginPage(url: string): string {
  return `<!doctype html><title>Welcome</title><p><a href="${url}">Log in</a><form method="post" action="${url}"><button>Accept</button></form>\n`
}

/** Like a box that looks into HTTPS: it knows HTTP, and ends whatever is none. */
function serveInterceptor({ address, port, tls }: InterceptorPlan): Promise<void> {
  const server = createHttps({ cert: tls.certificatePem, key: tls.keyPem }, (_request, response) =>
    response.writeHead(403).end('Blocked\n')
  )
  server.on('tlsClientError', () => undefined)
  return listen(server, address, port)
}

function listen(server: Server | NetServer, address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, address, resolve)
  })
}
