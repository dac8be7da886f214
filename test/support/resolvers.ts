/**
 * The real programs that manage name resolution, in a namespace of a test: systemd-resolved with a bus of its own, openresolv, and
 * Debian's resolvconf, from packages that `fetch-resolvers.sh` has unpacked, with name servers that say who was asked.
 *
 * A package's files are laid over the namespace's /usr, so that the programs find each other where they look for them;
 * the machine's own /usr, /run and /etc are not touched.
 * @module
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type LabNamespace, type RunningProgram, startProgram } from './namespaces.ts'
import { runCommand } from './run-command.ts'
import { waitUntil } from './wait-until.ts'

/** Folder with the unpacked packages; see `fetch-resolvers.sh`. */
export const RESOLVERS_VARIABLE = 'IKESTREAM_TEST_RESOLVERS'
export type ResolverPackage = 'systemd-resolved' | 'openresolv' | 'resolvconf'

const NAME_SERVER = fileURLToPath(new URL('./name-server.mjs', import.meta.url))
const RESOLVED_USER = 'systemd-resolve'
const RESOLVED_ID = 64_123
const STUB = '/run/systemd/resolve/stub-resolv.conf'

/** Who may do what is left to the policies of the services themselves, as in the system's own configuration. */
const BUS_CONFIGURATION = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <includedir>/usr/share/dbus-1/system.d</includedir>
</busconfig>
`

/** Users of a namespace's own /etc: the machine's, and the one that systemd-resolved becomes. */
export async function resolvedUsers(): Promise<Record<string, string>> {
  const others = async (path: string): Promise<string> => {
    const lines = (await readFile(path, 'utf8')).split('\n')
    return lines.filter((line) => line !== '' && !line.startsWith(`${RESOLVED_USER}:`)).join('\n')
  }
  const user = `${RESOLVED_USER}:x:${RESOLVED_ID}:${RESOLVED_ID}::/:/usr/sbin/nologin`
  return {
    passwd: `${await others('/etc/passwd')}\n${user}\n`,
    group: `${await others('/etc/group')}\n${RESOLVED_USER}:x:${RESOLVED_ID}:\n`
  }
}

/** Files of a package's folder in /etc, by path below /etc. */
export async function packageEtc(name: ResolverPackage, folder: string): Promise<Record<string, string>> {
  const base = join(packageFolder(name), 'etc')
  const entries = await readdir(join(base, folder), { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  const named = files.map(async ({ parentPath, name: file }) => {
    const path = join(parentPath, file)
    return [path.slice(base.length + 1), await readFile(path, 'utf8')] as const
  })
  return Object.fromEntries(await Promise.all(named))
}

/**
 * Lays a package over the namespace's /usr, and gives the namespace a /run of its own.
 * @param directory an empty one of the caller's
 */
export async function layOver(
  namespace: LabNamespace,
  name: ResolverPackage,
  directory: string
): Promise<void> {
  const usr = join(directory, 'usr')
  const source = packageFolder(name)
  // Older packages have their programs beside /usr, where links lead into it.
  for (const folder of ['usr', 'bin', 'sbin', 'lib']) {
    const to = folder === 'usr' ? usr : join(usr, folder)
    if (!(await readdir(source)).includes(folder)) continue
    await mkdir(to, { recursive: true })
    await runCommand(['cp', '-a', `${join(source, folder)}/.`, to])
  }
  await namespace.run(['mount', '-t', 'overlay', 'overlay', '-o', `lowerdir=${usr}:/usr`, '/usr'])
  await namespace.run(['mount', '-t', 'tmpfs', 'tmpfs', '/run'])
}

/**
 * Starts a bus and systemd-resolved, which has to be laid over already, and has /etc/resolv.conf point to it. Both end with the
 * namespace.
 */
export async function startResolved(namespace: LabNamespace, directory: string): Promise<RunningProgram> {
  const bus = join(directory, 'bus.conf')
  await writeFile(bus, BUS_CONFIGURATION)
  await namespace.run(['mkdir', '-p', '/run/dbus', '/run/systemd'])
  // Processes of another user do not end with whoever started them; all of a process namespace do with its first one.
  const script = `dbus-daemon --config-file=${bus} --nofork --nopidfile & /usr/lib/systemd/systemd-resolved & wait`
  const unshare = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', '--']
  const program = startProgram(namespace, [...unshare, 'sh', '-c', script])
  await waitUntil('systemd-resolved', async () => {
    if (program.child.exitCode !== null) throw new Error(`systemd-resolved ended: ${program.stderr()}`)
    const { exitCode } = await namespace.runner.run(['resolvectl', 'dns'])
    return exitCode === 0
  })
  await namespace.run(['ln', '-sf', STUB, '/etc/resolv.conf'])
  return program
}

/** A name server with an address of its own for every name. */
export class NameServer {
  readonly answer: string
  readonly #program: RunningProgram

  private constructor(answer: string, program: RunningProgram) {
    this.answer = answer
    this.#program = program
  }

  static async start(namespace: LabNamespace, address: string, answer: string): Promise<NameServer> {
    const program = startProgram(namespace, [process.execPath, NAME_SERVER, address, answer])
    await program.printed(/listening/)
    return new NameServer(answer, program)
  }

  /** The names that it was asked for so far. */
  get asked(): string[] {
    return this.#program.stdout().split('\n').slice(1, -1)
  }
}

/** The address that programs in a namespace find for a name, by way of the C library and whatever it asks; null for none. */
export async function lookUp(namespace: LabNamespace, name: string): Promise<string | null> {
  const { stdout } = await namespace.runner.run(['getent', 'ahostsv4', name])
  return stdout.split(/\s/)[0] || null
}

function packageFolder(name: ResolverPackage): string {
  return join(process.env[RESOLVERS_VARIABLE] ?? '', name)
}
