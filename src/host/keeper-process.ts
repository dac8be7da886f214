/**
 * The program that `KeptHost` starts: reads requests from standard input, answers on standard output, and ends when everything is undone
 * after the last of them, or after the input's end: that comes however the session ended, SIGKILL included.
 *
 * Whoever ends a group of processes (a terminal with Ctrl-C, a service manager that stops a unit) means the session; this process
 * ends by itself soon after that one.
 * @module
 */
import { SystemError } from '../errors.ts'
import { identityOf } from './journal.ts'
import { Keeper } from './keeper.ts'
import { type KeeperReply, LineReader } from './keeper-protocol.ts'
import { LocalHost } from './local-host.ts'

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const)
  process.on(signal, () => undefined)
// A session that is gone reads no answers; that is no reason to leave anything behind.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

let sessionGone = false
const keeper = new Keeper({
  send: (reply) => {
    if (!sessionGone) process.stdout.write(`${JSON.stringify(reply)}\n`)
    else if (reply.type === 'log') complain(reply)
  },
  open: (settings, pid, log) => {
    if (pid !== process.ppid) throw new SystemError('keeper', 'the session is not the parent of its keeper')
    return LocalHost.open(settings, { log, owner: identityOf(pid) })
  }
})
const lines = new LineReader((line) => keeper.receive(line))
process.stdin.on('data', (chunk: Buffer) => {
  if (!lines.push(chunk)) keeper.end()
})
for (const event of ['end', 'error', 'close'] as const) {
  process.stdin.on(event, () => {
    sessionGone = true
    keeper.end()
  })
}
await keeper.ended
process.exitCode = 0
process.stdin.destroy()

/** Nobody but the terminal or the journal of the system is left to tell. */
function complain({ level, message }: Extract<KeeperReply, { type: 'log' }>): void {
  if (level === 'error') process.stderr.write(`error: ${message}\n`)
}
