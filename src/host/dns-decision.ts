/**
 * Who manages name resolution on this machine, and so how to hand it the tunnel's servers: a pure decision over facts, with
 * the reasons as text.
 * @module
 */

/** What was found out about the machine. */
export interface DnsFacts {
  /** Whether `resolvectl` is there, and systemd-resolved answers it. */
  readonly resolved: 'absent' | 'silent' | 'answers'
  /** Contents of /etc/resolv.conf, links followed; null when there is none. */
  readonly resolvConf: string | null
  /** Contents of /etc/nsswitch.conf; null when there is none. */
  readonly nsswitch: string | null
  /** Which program answers to the name `resolvconf`. */
  readonly resolvconf: 'absent' | 'openresolv' | 'debian' | 'systemd'
  /** Contents of Debian's /etc/resolvconf/interface-order; null when there is none. */
  readonly interfaceOrder: string | null
  /** The tunnel's device lives in a named network namespace. */
  readonly netns: string | null
}

export type DnsMode = 'resolvectl' | 'resolvconf' | 'file' | 'netns-file'

export interface DnsDecision {
  readonly mode: DnsMode
  /** Each step of the reasoning, for the log. */
  readonly trace: readonly string[]
}

/** Addresses of systemd-resolved's own stub listeners. */
const STUBS = new Set(['127.0.0.53', '127.0.0.54'])
const MANAGERS: readonly (readonly [RegExp, string])[] = [
  [/systemd-resolved/i, 'systemd-resolved'],
  [/NetworkManager/i, 'NetworkManager'],
  [/resolvconf/i, 'resolvconf']
]

/** Decides; never fails: a file can always be written. */
export function decideDns(facts: DnsFacts): DnsDecision {
  const trace: string[] = []
  const decided = (mode: DnsMode, why: string): DnsDecision => ({
    mode,
    trace: [...trace, `${mode}: ${why}`]
  })
  if (facts.netns !== null) return decided('netns-file', `the tunnel is in the namespace ${facts.netns}`)
  const owner = resolvConfOwner(facts.resolvConf)
  trace.push(
    `/etc/resolv.conf ${facts.resolvConf === null ? 'is absent' : `belongs to ${owner ?? 'nobody known'}`}`
  )
  trace.push(`systemd-resolved: ${facts.resolved}`)
  if (facts.resolved === 'answers') {
    if (pointsToStub(facts.resolvConf)) return decided('resolvectl', '/etc/resolv.conf points to its stub')
    if (nsswitchAsksResolved(facts.nsswitch)) return decided('resolvectl', 'nsswitch.conf asks it')
    trace.push('nothing points to systemd-resolved: it is left alone')
  }
  trace.push(`resolvconf: ${facts.resolvconf}`)
  if (facts.resolvconf === 'openresolv' || facts.resolvconf === 'debian') {
    return decided('resolvconf', `${facts.resolvconf} is installed`)
  }
  if (owner === 'NetworkManager')
    trace.push('NetworkManager may write /etc/resolv.conf again when a link changes')
  return decided('file', '/etc/resolv.conf is written directly')
}

/** The program that signed the file in a comment. */
export function resolvConfOwner(text: string | null): string | undefined {
  const comments = (text ?? '')
    .split('\n')
    .filter((line) => /^\s*[#;]/.test(line))
    .join('\n')
  return MANAGERS.find(([pattern]) => pattern.test(comments))?.[1]
}

export function nameserversOf(text: string): string[] {
  return [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].flatMap(([, address]) => address ?? [])
}

/**
 * The name under which Debian's resolvconf ranks our record first: it sorts records by the patterns of its
 * interface-order file.
 */
export function debianRecordName(device: string, interfaceOrder: string | null): string {
  for (const line of (interfaceOrder ?? '').split('\n')) {
    const prefix = /^\s*([A-Za-z0-9-]+)\*\s*$/.exec(line)?.[1]
    if (prefix !== undefined && !prefix.startsWith('lo')) return `${prefix}.${device}`
  }
  return device
}

function pointsToStub(text: string | null): boolean {
  return text !== null && nameserversOf(text).some((address) => STUBS.has(address))
}

/** `hosts: ... resolve ... dns`: resolved is asked before the servers of resolv.conf. */
function nsswitchAsksResolved(text: string | null): boolean {
  const line = (text ?? '').split('\n').find((one) => /^\s*hosts\s*:/.test(one))
  if (line === undefined) return false
  const words = line.split(/\s+/)
  const resolve = words.indexOf('resolve')
  const dns = words.indexOf('dns')
  return resolve >= 0 && (dns < 0 || resolve < dns)
}
