/**
 * The format of a session's journal: JSON, checked when it is read, because what it says will be executed.
 * @module
 */
import * as v from 'valibot'
import { DataError } from '../errors.ts'
import type { UndoStep } from './undo-step.ts'

/** One process, until the machine restarts. */
export interface ProcessIdentity {
  readonly pid: number
  /** Clock ticks after boot at which it started; null when it cannot be known. */
  readonly startTicks: string | null
  readonly bootId: string
}

export interface JournalRecord {
  readonly schemaVersion: 1
  readonly name: string
  /** The process that the session is. */
  readonly owner: ProcessIdentity
  /** The process that keeps the host for it, where that is another one (`--setuid`). */
  readonly keeper?: ProcessIdentity | undefined
  /** RFC 3339. */
  readonly since: string
  /** Network namespace of `ip netns` that the tunnel's device is in. */
  readonly netns: string | null
  readonly steps: readonly UndoStep[]
}

const Text = v.string()
/** JSON has numbers that no field of ours can hold, and that would be something else when the journal is written again. */
const Whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
/** Never 0 or less: for kill(2) those are groups of processes, or all. */
const Pid = v.pipe(v.number(), v.safeInteger(), v.minValue(1))
const Route = v.object({
  family: v.picklist([4, 6]),
  destination: Text,
  type: v.picklist(['unicast', 'unreachable']),
  via: v.optional(Text),
  device: v.optional(Text),
  metric: v.optional(Whole),
  onlink: v.optional(v.boolean())
})
const Before = v.variant('kind', [
  v.object({ kind: v.literal('link'), target: Text }),
  v.object({
    kind: v.literal('file'),
    contentsBase64: Text,
    mode: Whole,
    uid: Whole,
    gid: Whole
  })
])
const Bound = { interface: Text, index: Whole }
const Step = v.variant('kind', [
  v.object({
    kind: v.literal('link'),
    ...Bound,
    mtu: Whole,
    up: v.boolean(),
    addressGeneration: v.nullable(Text)
  }),
  v.object({ kind: v.literal('address'), ...Bound, address: Text }),
  v.object({ kind: v.literal('tunnel-route'), ...Bound, route: Route }),
  v.object({ kind: v.literal('host-route'), route: Route }),
  v.object({ kind: v.literal('resolvectl'), ...Bound }),
  v.object({ kind: v.literal('resolvconf'), record: Text, force: v.boolean() }),
  v.object({ kind: v.literal('file'), path: Text, writtenSha256: Text, before: v.nullable(Before) }),
  v.object({ kind: v.literal('directory'), path: Text }),
  v.object({ kind: v.literal('pid-file'), path: Text, pid: Pid }),
  v.object({ kind: v.literal('control-socket'), path: Text }),
  v.object({
    kind: v.literal('script'),
    argv: v.array(Text),
    variables: v.record(Text, Text),
    timeoutMs: Whole
  })
])
const Process = v.object({ pid: Pid, startTicks: v.nullable(Text), bootId: Text })
const Record = v.object({
  schemaVersion: v.literal(1),
  name: Text,
  owner: Process,
  keeper: v.optional(Process),
  since: Text,
  netns: v.nullable(Text),
  steps: v.array(Step)
})

/** @throws DataError for anything but a whole journal */
export function parseRecord(text: string, path: string): JournalRecord {
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch (cause) {
    throw new DataError('journal-damaged', `the journal ${path} is damaged`, { cause })
  }
  const result = v.safeParse(Record, document)
  if (result.success) return result.output
  throw new DataError('journal-damaged', `the journal ${path} is damaged: ${result.issues[0].message}`)
}
