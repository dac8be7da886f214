/**
 * `ikestream lab run`: one command, or a shell, on the client's side of a lab network.
 * @module
 */
import { spawn } from 'node:child_process'
import { InternalError } from '../../errors.ts'
import { Lab } from '../../lab/lab.ts'
import type { LabNetwork } from '../../lab/networks.ts'
import { LOGIN_URL, SERVER_NAME } from '../../lab/plan.ts'
import type { LabSettings } from '../../lab/settings.ts'
import { exitCodeOf } from '../background.ts'
import { ChildSignals } from '../child-signals.ts'
import type { Reporter } from '../reporter.ts'

/** @returns the command's exit code. @throws what keeps the network from being built */
export async function runInLab(
  network: LabNetwork,
  settings: LabSettings,
  argv: readonly string[],
  reporter: Reporter
): Promise<number> {
  const signals = new ChildSignals()
  try {
    reporter.update(`Building ${network.name}`)
    const lab = await Lab.open(network, settings)
    reporter.stop()
    try {
      if (signals.received) return signals.exitCode
      if (argv.length === 0) welcome(network, reporter)
      return await runCommand(lab, argv.length === 0 ? shell() : argv, signals)
    } finally {
      await lab.close()
    }
  } finally {
    reporter.stop()
    signals.stop()
  }
}

function shell(): string[] {
  return [process.env['SHELL'] ?? '/bin/sh']
}

function welcome({ name, sentence, wall, loggedIn }: LabNetwork, reporter: Reporter): void {
  reporter.line(`${name}: ${sentence}`)
  reporter.line(`try: ikestream check ${SERVER_NAME}, ikestream connect ${SERVER_NAME}, env | grep LAB_`)
  if (wall === 'portal' && loggedIn !== true) reporter.line(`log in at the portal: curl -d '' ${LOGIN_URL}`)
}

function runCommand(lab: Lab, argv: readonly string[], signals: ChildSignals): Promise<number> {
  const [program = '', ...rest] = lab.client.argv(argv)
  const child = spawn(program, rest, { stdio: 'inherit', env: lab.commandEnvironment() })
  signals.passTo(child)
  return new Promise((resolve, reject) => {
    child.once('exit', (code, signal) => resolve(exitCodeOf(code, signal)))
    child.once('error', (cause) =>
      reject(new InternalError('lab-run', `The command could not be started: ${cause.message}.`, { cause }))
    )
  })
}
