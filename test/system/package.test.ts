/** The package as somebody else installs it: what is in it, that it runs in a clean folder, and that programs can be built on it. */
import { existsSync, readFileSync } from 'node:fs'
import { cp, mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { licensesPage, runtimePackages } from '../../scripts/licenses.mjs'
import { IkestreamSite } from '../support/ikestream-site.ts'
import { startProgram } from '../support/namespaces.ts'
import { describeWith } from '../support/require.ts'
import { runCommand, tryCommand } from '../support/run-command.ts'
import { scratchDirectory } from '../support/run-directory.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Everything that may be in the package. */
const WANTED = [
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md|SECURITY\.md)$/,
  /^bin\/(ikestream\.js|package\.json)$/,
  /^dist\/bundle\/[\w-]+\.cjs$/,
  /^dist\/(\w+\/)*[\w-]+\.(js|d\.ts)$/,
  /^man\/ikestream\.1$/,
  /^schema\/[\w-]+\.schema\.json$/,
  /^docs\/([\w-]+\/)?[\w-]+\.(md|svg)$/,
  /^examples\/[\w/@.-]+$/
]
const LICENSES = ['MIT', 'ISC', 'BSD-3-Clause', '(BSD-3-Clause OR GPL-2.0)']
const DEVELOPMENT_TYPES = ['@types/node', 'undici-types']

let folder: string
let packed: readonly string[]

/** A folder in which the package is installed, with what it says it needs and nothing else. */
beforeAll(async () => {
  folder = await scratchDirectory('package')
  const options = ['--ignore-scripts', '--json', '--pack-destination', folder]
  const [{ filename, files }] = JSON.parse(await runCommand(['npm', 'pack', ...options], { cwd: ROOT })) as [
    { filename: string; files: { path: string }[] }
  ]
  packed = files.map(({ path }) => path)
  const installed = join(folder, 'node_modules', 'ikestream')
  await mkdir(installed, { recursive: true })
  await runCommand(['tar', '-xzf', join(folder, filename), '-C', installed, '--strip-components=1'])
  const names = (runtimePackages() as { name: string }[]).map(({ name }) => name)
  for (const name of [...names, ...DEVELOPMENT_TYPES]) {
    const target = join(ROOT, 'node_modules', name)
    if (!existsSync(target)) continue
    await mkdir(dirname(join(folder, 'node_modules', name)), { recursive: true })
    await symlink(target, join(folder, 'node_modules', name))
  }
})

describe('the package', () => {
  it('holds what is needed and nothing else', () => {
    expect(packed.filter((path) => !WANTED.some((pattern) => pattern.test(path)))).toEqual([])
    for (const path of [
      'bin/ikestream.js',
      'dist/api/index.d.ts',
      'dist/host/tun-opener.js',
      'docs/LICENSES.md',
      'man/ikestream.1'
    ])
      expect(packed).toContain(path)
  })

  it('names the licences of all that it is built on', () => {
    const page = readFileSync(join(ROOT, 'docs', 'LICENSES.md'), 'utf8')
    expect(page, 'out of date: node scripts/licenses.mjs').toBe(licensesPage())
    for (const { name, license } of runtimePackages() as { name: string; license: string }[])
      expect(LICENSES, name).toContain(license)
  })

  it('runs where it is installed', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
    const bin = join(folder, 'node_modules', 'ikestream', 'bin', 'ikestream.js')
    expect(await runCommand([process.execPath, bin, '--version'], { cwd: folder })).toBe(`${version}\n`)
    expect(await runCommand([process.execPath, bin, 'connect', '--help'], { cwd: folder })).toContain(
      '--capture'
    )
  })

  it('has types that a strict program compiles with', async () => {
    await compileExamples()
    const wrong = `import { connect } from 'ikestream'\nconst vpn = await connect({ server: 1 })\nvpn.on('nonsense', () => undefined)\n`
    await writeFile(join(folder, 'wrong.ts'), wrong)
    const { exitCode, stdout } = await compile(['wrong.ts'])
    expect(exitCode).not.toBe(0)
    expect(stdout).toMatch(/Type 'number' is not assignable to type 'string/)
    // A listener for an event that there is not.
    expect(stdout).toMatch(/^wrong\.ts\(3,/m)
  })

  it('is found by programs under its name, and by no other path', async () => {
    const run = (code: string) =>
      tryCommand([process.execPath, '--input-type=module', '-e', code], { cwd: folder })
    const names = "import * as api from 'ikestream'\nconsole.log(Object.keys(api).sort().join())"
    const { stdout, stderr } = await run(names)
    expect(stdout, stderr).toMatch(/^AuthenticationError,.*Connection,.*check,connect\n$/)
    const schema = "import.meta.resolve('ikestream/schema/status.schema.json')"
    expect((await run(schema)).exitCode).toBe(0)
    expect((await run("import 'ikestream/dist/client/connect.js'")).stderr).toContain(
      'ERR_PACKAGE_PATH_NOT_EXPORTED'
    )
  })
})

describeWith('namespaces', 'tun')('a program that uses the package', () => {
  let site: IkestreamSite

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startGateway()
    await compileExamples()
  })
  afterAll(() => site?.close())

  function run(example: string, argument: string) {
    const argv = [process.execPath, join(folder, 'out', example), argument]
    const env = { PATH: process.env['PATH'], HOME: folder, IKESTREAM_STATE_DIR: join(folder, 'state') }
    return startProgram(site.client, argv, { env })
  }

  it('brings a tunnel up and ends it cleanly: examples/api/connect.ts', async () => {
    await site.withPsk()
    const auth = '[auth]\npsk-file = "psk"\nidentity = "client@test"\nremote-identity = "gw.test"\n'
    const profile = await site.file('work.toml', `server = "${site.gatewayAddress}"\n${auth}`)
    const before = await site.clientState()
    const program = run('connect.js', profile)
    await program.printed(/connected to gw\.test over udp as 10\.99\.0\.2/)
    program.child.kill('SIGINT')
    expect(await program.exit, program.stderr()).toBe(0)
    expect(program.stdout()).toMatch(
      /^udp to 198\.18\.0\.1: trying\n[\s\S]*closed: \d+ bytes in, \d+ bytes out\n$/
    )
    expect(await site.clientState()).toBe(before)
  })

  it('leaves with the reason when it cannot: examples/api/connect.ts', async () => {
    await site.withPsk('another key')
    const auth = '[auth]\npsk-file = "other-psk"\nidentity = "client@test"\nremote-identity = "gw.test"\n'
    const program = run(
      'connect.js',
      await site.file('wrong.toml', `server = "${site.gatewayAddress}"\n${auth}`)
    )
    expect(await program.exit).toBe(77)
    expect(program.stderr()).toMatch(/^authentication-failed: /m)
  })

  it('asks how the gateway is reached: examples/api/check.ts', async () => {
    const program = run('check.js', site.gatewayAddress)
    expect(await program.exit, program.stderr()).toBe(0)
    expect(program.stdout()).toMatch(/UDP .*\(\d+ ms\)/)
  })
})

function compile(files: readonly string[]): ReturnType<typeof tryCommand> {
  const strict = [
    '--strict',
    '--noUncheckedIndexedAccess',
    '--exactOptionalPropertyTypes',
    '--skipLibCheck',
    'false'
  ]
  const modules = [
    '--module',
    'nodenext',
    '--target',
    'es2022',
    '--types',
    'node',
    '--outDir',
    join(folder, 'out')
  ]
  return tryCommand([join(ROOT, 'node_modules', '.bin', 'tsc'), ...strict, ...modules, ...files], {
    cwd: folder
  })
}

/** The examples as they are in the package, compiled against the package. */
async function compileExamples(): Promise<void> {
  if (existsSync(join(folder, 'out'))) return
  await cp(join(folder, 'node_modules', 'ikestream', 'examples', 'api'), join(folder, 'api'), {
    recursive: true
  })
  await writeFile(join(folder, 'package.json'), '{ "type": "module", "private": true }\n')
  const files = (await readdir(join(folder, 'api'))).map((name) => join('api', name))
  const { exitCode, stdout } = await compile(files)
  expect(exitCode, stdout).toBe(0)
}
