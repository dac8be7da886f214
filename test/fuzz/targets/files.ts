/**
 * Targets of what people and other programs write: profiles, configuration, imports, journals, control and keeper messages.
 * @module
 */
import { Command } from 'commander'
import { addGatewayOptions, applyConfigFile, parseToml } from '../../../src/cli/gateway-settings.ts'
import { readImport } from '../../../src/cli/import/import-file.ts'
import { parsePlist } from '../../../src/cli/import/plist.ts'
import { readSswan } from '../../../src/cli/import/sswan.ts'
import { profileName } from '../../../src/cli/import/write-profile.ts'
import { parseProfile } from '../../../src/cli/profile.ts'
import { parseUsers } from '../../../src/gateway/users-file.ts'
import {
  CONTROL_REQUESTS,
  parseAnswer,
  parseRequest as parseControlRequest,
  requestLine,
  resultLine
} from '../../../src/host/control-protocol.ts'
import { debianRecordName, nameserversOf } from '../../../src/host/dns-decision.ts'
import { parseRecord } from '../../../src/host/journal-record.ts'
import { LineReader, parseReply, parseRequest } from '../../../src/host/keeper-protocol.ts'
import { parseConditions } from '../../../src/host/link/conditions.ts'
import { classifyLine } from '../../../src/host/network-watch.ts'
import { lookUp, parseNetwork, parseRoutes } from '../../../src/host/route.ts'
import { parsePresharedKey } from '../../../src/host/secrets-input.ts'
import { answerQuestion, readQuestion } from '../../../src/host/services/dns-message.ts'
import { parseHostPort, parseListen } from '../../../src/relay/options.ts'
import { Secret } from '../../../src/secret.ts'
import {
  parseProxyUrl,
  proxiesFromEnvironment,
  proxyEndpoint,
  proxyLabel
} from '../../../src/transport/proxy-url.ts'
import { parseCongestionControl } from '../../../src/transport/socket-settings.ts'
import { addressFamily } from '../../../src/wire/address.ts'
import { isDomainName } from '../../../src/wire/domain-name.ts'
import odd from '../../vectors/odd-certificates.json' with { type: 'json' }
import {
  bounded,
  type FuzzTarget,
  holds,
  OracleFailure,
  refusing,
  same,
  textOf,
  texts,
  utf8
} from '../target.ts'

const JSON_WORDS = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '""',
  'null',
  'true',
  '1e999',
  '-0',
  '1e-400',
  '99999999999999999999',
  '{"__proto__":',
  '"__proto__":{"polluted":1},',
  '"constructor":',
  '"toString":',
  '\\u0000',
  '\\ud800',
  '\0',
  '[[[['
]
const TOML_WORDS = [
  '"',
  "'",
  '"""',
  "'''",
  '[',
  ']',
  '[[',
  ']]',
  '=',
  '.',
  '{',
  '}',
  ',',
  '\n',
  '#',
  '\\',
  '\\u0000',
  '__proto__',
  'constructor',
  'inf',
  'nan',
  '-nan',
  '1_000',
  '0x',
  '1979-05-27T07:32:00Z',
  '= 1\n',
  '[__proto__]\n',
  'a.b.c.d = 1\n',
  '[[[['
]

/** What a parser must never do, whatever it was fed: leave something behind in everybody's prototype. */
function unpolluted(): void {
  for (const key in {}) throw new OracleFailure(`every object now has a property ${key}`)
}

const PROFILE = `server = "vpn.example.com"
[auth]
user = "alice"
password-file = "alice.pass"
cafile = ["corp-ca.pem", "/etc/ssl/other.pem"]
ike-proposal = ["aes256gcm16-prfsha384-ecp384"]
[transport]
order = ["udp", "tcp", "tls"]
tls-name = "www.example.com"
proxy = "auto"
[tunnel]
remote-ts = ["10.0.0.0/8"]
dns = true
mtu = 1400
[session]
timeout = 12.5
persist = false
`

const profile: FuzzTarget = {
  name: 'profile',
  covers: ['cli/profile.ts#parseProfile'],
  weight: 0.5,
  corpus: () =>
    texts(PROFILE, PROFILE.slice(0, 60), 'server = "a"\n', 'server = "a"\n[tunnel]\nmtu = 99999\n'),
  dictionary: [...TOML_WORDS, 'server', '[auth]\n', '[transport]\n', 'mtu = ', 'order = [', 'timeout = '],
  open: () => (input) => {
    const parsed = refusing(() => parseProfile(textOf(input), '/etc/ikestream/work.toml'))
    if (parsed !== undefined) bounded(parsed, input)
    unpolluted()
  }
}

const gatewayConfig: FuzzTarget = {
  name: 'gateway-config',
  covers: ['cli/gateway-settings.ts#parseToml', 'cli/gateway-settings.ts#applyConfigFile'],
  weight: 0.1,
  corpus: () =>
    texts(
      'udp-port = 500\nnat-t-port = 4500\nno-tls = true\ncookies = "always"\nlocal-ts = ["10.0.0.0/8"]\nusers = "users"\n'
    ),
  dictionary: [...TOML_WORDS, 'udp-port', 'no-udp = true\n', 'cookies = ', 'max-half-open = '],
  open: () => (input) => {
    const text = textOf(input)
    refusing(() => parseToml(text, '/etc/gateway.toml'))
    refusing(() => applyConfigFile(addGatewayOptions(new Command()), text, '/etc/gateway.toml'))
    unpolluted()
  }
}

const users: FuzzTarget = {
  name: 'users-file',
  covers: ['gateway/users-file.ts#parseUsers'],
  weight: 4,
  corpus: () =>
    texts('alice:wonderland\nbob:secret:with:colons\n# nobody\n\r\n  carol : x\r\n', '__proto__:x\n'),
  dictionary: [':', '\n', '#', '\r', '__proto__', '\0', 'alice'],
  open: () => (input) => {
    const parsed = refusing(() => parseUsers(textOf(input), '/etc/users'))
    if (parsed !== undefined) bounded([...parsed.keys()], input)
  }
}

const PLIST = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadContent</key><array><dict>
<key>PayloadType</key><string>com.apple.vpn.managed</string><key>PayloadUUID</key><string>A</string>
<key>UserDefinedName</key><string>Work &amp; Co</string><key>VPNType</key><string>IKEv2</string>
<key>IKEv2</key><dict><key>RemoteAddress</key><string>vpn.example.com</string>
<key>RemoteIdentifier</key><string>vpn.example.com</string><key>LocalIdentifier</key><string>alice</string>
<key>AuthenticationMethod</key><string>SharedSecret</string><key>SharedSecret</key><string>s3cret</string>
<key>IKESecurityAssociationParameters</key><dict><key>EncryptionAlgorithm</key><string>AES-256-GCM</string>
<key>IntegrityAlgorithm</key><string>SHA2-384</string><key>DiffieHellmanGroup</key><integer>20</integer>
<key>LifeTimeInMinutes</key><integer>1440</integer></dict><key>EnablePFS</key><true/><key>MTU</key><integer>1300</integer>
</dict></dict><dict><key>PayloadType</key><string>com.apple.security.root</string><key>PayloadUUID</key><string>B</string>
<key>PayloadContent</key><data>${odd.certificates.ca}</data></dict></array></dict></plist>
`
const SSWAN = JSON.stringify({
  uuid: '5f4c4a3e-0000-4000-8000-000000000000',
  name: 'Work',
  type: 'ikev2-eap',
  remote: { addr: 'vpn.example.com', id: 'vpn.example.com', cert: odd.certificates.ca, port: 4500 },
  local: { eap_id: 'alice', p12: 'AAAA' },
  'ike-proposal': 'aes256gcm16-prfsha384-ecp384',
  'esp-proposal': 'aes256gcm16',
  'split-tunneling': { subnets: ['10.0.0.0/8'], excluded: '10.1.0.0/16' },
  mtu: 1300
})

const imported: FuzzTarget = {
  name: 'import',
  covers: [
    'cli/import/import-file.ts#readImport',
    'cli/import/plist.ts#parsePlist',
    'cli/import/sswan.ts#readSswan',
    'cli/import/mobileconfig.ts#readMobileconfig'
  ],
  weight: 0.3,
  maxLength: 8192,
  corpus: () => [...texts(PLIST, SSWAN), Uint8Array.from(Buffer.from(odd.cms, 'base64'))],
  dictionary: [
    ...JSON_WORDS,
    '<dict>',
    '</dict>',
    '<array>',
    '</array>',
    '<key>',
    '</key>',
    '<string>',
    '</string>',
    '<data>',
    '<!--',
    '-->',
    '<![CDATA[',
    ']]>',
    '&amp;',
    '&#0;',
    '&#xd800;',
    '&lol;',
    '<!DOCTYPE plist [<!ENTITY a "b">]>',
    '<integer>',
    '<true/>',
    '<',
    '>'
  ],
  open: () => (input) => {
    const result = refusing(() => readImport(input, 'Untitled'))
    // Certificates become text, once for each profile.
    if (result !== undefined)
      bounded(
        result.drafts.map(({ title, values, files }) => [title, values, files]),
        input,
        60
      )
    for (const draft of result?.drafts ?? []) {
      holds(/^[^/\0]+$/.test(profileName(draft.title)), 'a profile gets a name that is no path')
      for (const { suffix } of draft.files) holds(!suffix.includes('/'), 'and so do its files')
    }
    refusing(() => parsePlist(input))
    refusing(() => readSswan(textOf(input), 'Untitled'))
    unpolluted()
  }
}

const KEEPER_LINES = [
  {
    id: 1,
    ask: { op: 'open', pid: 7, settings: { stateDirectory: '/run', sessionName: 'a', script: '/etc/x' } }
  },
  {
    id: 2,
    ask: {
      op: 'apply',
      config: {
        interface: 'ike0',
        mtu: 1400,
        pinned: ['203.0.113.1'],
        routes: ['10.0.0.0/8', '::/0'],
        addresses: [{ address: '10.9.0.5', prefixLength: 32 }],
        dns: { servers: ['10.9.0.1'], domains: ['example.org'], exclusive: false }
      }
    }
  },
  { id: 3, ask: { op: 'update-pinned', addresses: ['2001:db8::1'] } },
  { id: 4, ask: { op: 'set-mtu', mtu: 1280 } },
  {
    type: 'done',
    id: 3,
    result: {
      conflicts: [{ kind: 'route-exists', subject: 'a', message: 'b' }],
      dnsMode: 'file',
      moved: ['x']
    }
  },
  { type: 'failed', id: 2, family: 'SystemError', code: 'a', message: 'b' },
  { type: 'log', level: 'warn', message: 'x', fields: { a: 1 } }
].map((line) => JSON.stringify(line))

const keeper: FuzzTarget = {
  name: 'keeper-pipe',
  covers: [
    'host/keeper-protocol.ts#parseRequest',
    'host/keeper-protocol.ts#parseReply',
    'host/keeper-protocol.ts#LineReader'
  ],
  weight: 2,
  corpus: () => texts(...KEEPER_LINES, `${KEEPER_LINES.join('\n')}\n`),
  dictionary: [...JSON_WORDS, '"op":"undo"', '"../', '"/etc/shadow"', '"-x"', '\n'],
  open: () => (input, random) => {
    const lines: string[] = []
    const whole = new LineReader((line) => lines.push(line))
    whole.push(Buffer.from(input))
    const again: string[] = []
    const pieces = new LineReader((line) => again.push(line))
    for (let at = 0; at < input.length; ) {
      const size = 1 + random.below(40)
      pieces.push(Buffer.from(input.slice(at, at + size)))
      at += size
    }
    holds(same(lines, again), 'it does not matter where a stream is cut')
    for (const line of [...lines, textOf(input)]) {
      const request = parseRequest(line)
      if (request !== undefined) examineRequest(request.ask)
      const reply = parseReply(line)
      if (reply !== undefined) bounded(reply, input)
    }
    unpolluted()
  }
}

/** What root is about to do on the word of a process that may have been taken over. */
function examineRequest(ask: NonNullable<ReturnType<typeof parseRequest>>['ask']): void {
  if (ask.op === 'apply') {
    holds(/^[^/\s-][^/\s]{0,14}$/.test(ask.config.interface), 'a device has the name of a device')
    for (const route of ask.config.routes) holds(parseNetwork(route) !== undefined, 'a route is a network')
    for (const domain of ask.config.dns?.domains ?? []) holds(isDomainName(domain), 'a domain is one')
  }
  if (ask.op === 'update-pinned')
    for (const address of ask.addresses) holds(addressFamily(address) !== undefined, 'an address is one')
}

const control: FuzzTarget = {
  name: 'control-socket',
  covers: ['host/control-protocol.ts#parseRequest', 'host/control-protocol.ts#parseAnswer'],
  weight: 2,
  corpus: () =>
    texts(
      ...CONTROL_REQUESTS.map(requestLine),
      resultLine({ a: [1, 2] }),
      '{"version":1,"error":{"code":"x","message":"y","hint":null,"exitCode":70}}'
    ),
  dictionary: JSON_WORDS,
  open: () => (input) => {
    const text = textOf(input)
    const request = refusing(() => parseControlRequest(text))
    holds(
      request === undefined || CONTROL_REQUESTS.includes(request),
      'a request is one of those that there are'
    )
    try {
      bounded(parseAnswer(text), input)
    } catch (error) {
      // An answer may be any error, also one that says that something went wrong inside of the session.
      if (!(error instanceof Error) || error.name.endsWith('TypeError')) throw error
    }
    unpolluted()
  }
}

const JOURNAL = JSON.stringify({
  schemaVersion: 1,
  name: 'office',
  owner: { pid: 7, startTicks: '1', bootId: 'x' },
  since: '2026-01-01T00:00:00Z',
  netns: null,
  steps: [
    {
      kind: 'host-route',
      route: { family: 4, destination: '198.18.0.1/32', type: 'unicast', via: '10.66.0.1', device: 'eth0' }
    },
    { kind: 'address', interface: 'ike0', index: 7, address: '10.88.0.7/32' },
    { kind: 'script', argv: ['/etc/x'], variables: { TUNDEV: 'ike0' }, timeoutMs: 1000 },
    { kind: 'file', path: '/etc/resolv.conf', writtenSha256: 'x', before: { kind: 'link', target: 'y' } }
  ]
})

const journal: FuzzTarget = {
  name: 'journal',
  covers: ['host/journal-record.ts#parseRecord'],
  weight: 1,
  corpus: () => texts(JOURNAL),
  dictionary: JSON_WORDS,
  open: () => (input) => {
    const record = refusing(() => parseRecord(textOf(input), '/run/office'))
    if (record !== undefined) {
      bounded(record, input)
      holds(same(parseRecord(JSON.stringify(record), ''), record), 'a journal is read as it was written')
    }
    unpolluted()
  }
}

const ROUTES = JSON.stringify([
  { dst: 'default', gateway: '10.0.0.1', dev: 'eth0', metric: 100, flags: [] },
  { dst: '10.0.0.0/8', dev: 'eth0', prefsrc: '10.0.0.5', metrics: [{ mtu: 1400 }], flags: ['linkdown'] },
  {
    type: 'unreachable',
    dst: '2001:db8::/32',
    nexthops: [{ via: { host: 'fe80::1' }, dev: 'eth1', flags: ['dead'] }]
  }
])
const MONITOR = [
  '[ROUTE]default via 10.0.0.1 dev eth0 proto dhcp metric 100 ',
  '[ADDR]2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global dynamic eth0\\       valid_lft forever',
  '[LINK]Deleted 5: ike0@if3: <POINTOPOINT,UP> mtu 1400 qdisc noop state DOWN group default \\    link/none'
]

const systemText: FuzzTarget = {
  name: 'system-text',
  covers: [
    'host/route.ts#parseRoutes',
    'host/route.ts#parseNetwork',
    'host/network-watch.ts#classifyLine',
    'host/link/conditions.ts#parseConditions',
    'host/dns-decision.ts#nameserversOf',
    'transport/socket-settings.ts#parseCongestionControl'
  ],
  weight: 2,
  corpus: () =>
    texts(
      ROUTES,
      ...MONITOR,
      'nameserver 10.0.0.1\nsearch a\n nameserver ::1\n',
      'vpn*\nlo.*\neth*\n',
      '{"delayMs":10,"loss":0.1}'
    ),
  dictionary: [
    ...JSON_WORDS,
    ' dev ',
    ' via ',
    '[ROUTE]',
    '[ADDR]',
    '[LINK]',
    'nameserver ',
    '\n',
    '/33',
    '/129'
  ],
  open: () => (input) => {
    const text = textOf(input)
    classifyLine(text, ['ike0'])
    bounded(nameserversOf(text), input)
    debianRecordName('ike0', text)
    refusing(() => parseCongestionControl(text))
    parseNetwork(text)
    let document: unknown
    try {
      document = JSON.parse(text)
    } catch {
      return
    }
    const table = parseRoutes(document)
    bounded(table, input)
    for (const address of ['203.0.113.1', '2001:db8::1']) lookUp(table, address, () => false)
    refusing(() => parseConditions(document))
    unpolluted()
  }
}

const settings: FuzzTarget = {
  name: 'setting-text',
  covers: [
    'transport/proxy-url.ts#parseProxyUrl',
    'transport/proxy-url.ts#proxiesFromEnvironment',
    'relay/options.ts#parseListen',
    'relay/options.ts#parseHostPort',
    'host/secrets-input.ts#parsePresharedKey'
  ],
  weight: 1,
  maxLength: 2048,
  corpus: () =>
    texts(
      'http://user:pass%40word@proxy.example:3128',
      'socks5h://[2001:db8::1]:1080',
      'proxy:8080',
      'https://p',
      '0x0102',
      '0sAAECAw==',
      '443',
      '[::]:443',
      '198.51.100.7:4500',
      'localhost,.example.org,10.0.0.0/8,*.corp:80,[fe80::1]/10'
    ),
  dictionary: [
    '://',
    'socks5:',
    'http:',
    '@',
    ':',
    '[',
    ']',
    '%',
    '%zz',
    ',',
    '*',
    '.',
    '/',
    '\0',
    '\u202e',
    '65536',
    '='
  ],
  open: () => (input) => {
    const text = textOf(input)
    const proxy = refusing(() => parseProxyUrl(text))
    if (proxy !== undefined) {
      const { port } = proxyEndpoint(proxy)
      holds(port >= 0 && port <= 65_535, 'a port is one')
      const { password } = proxy
      if (password.length > 8)
        holds(!proxyLabel(proxy).includes(password), 'the label of a proxy has no password')
    }
    for (const host of ['vpn.example.org', '203.0.113.1', '[2001:db8::1]'])
      refusing(() => proxiesFromEnvironment({ HTTPS_PROXY: text, NO_PROXY: text }, host))
    refusing(() => parseListen(text, '--listen'))
    refusing(() => parseHostPort(text, 4500, '--target'))
    refusing(() => parsePresharedKey(new Secret(utf8(text))))
  }
}

const dnsQuestion: FuzzTarget = {
  name: 'dns-question',
  covers: ['host/services/dns-message.ts#readQuestion'],
  weight: 8,
  maxLength: 600,
  corpus: () =>
    [1, 28, 255].map((type) =>
      Uint8Array.from([
        0x12,
        0x34,
        1,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        3,
        118,
        112,
        110,
        7,
        ...Buffer.from('example'),
        0,
        0,
        type,
        0,
        1
      ])
    ),
  open: () => (input) => {
    const question = readQuestion(input)
    if (question === undefined) return
    holds(question.end <= input.length, 'a question lies inside of its message')
    bounded(question.name, input, 2, 40)
    const answer = answerQuestion(input, question, ['198.51.100.1', '2001:db8::1'])
    holds(answer.length <= input.length + 60, 'an answer is a question and an address')
  }
}

export const FILE_TARGETS: readonly FuzzTarget[] = [
  profile,
  gatewayConfig,
  users,
  imported,
  keeper,
  control,
  journal,
  systemText,
  settings,
  dnsQuestion
]
