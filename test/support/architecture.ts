/**
 * The rules of the house, checked over source text: imports run downwards, there are no circles, and engines and
 * formats are free of I/O, clocks and chance.
 *
 * Works on text: every import of this code base is written out, and the formatter puts all of them in one shape.
 * @module
 */
import { dirname, join } from 'node:path/posix'

/** Folders of `src/` and the floor that each is on. */
const FLOORS: Readonly<Record<string, number>> = {
  api: 5,
  cli: 5,
  client: 4,
  check: 4,
  gateway: 4,
  relay: 4,
  lab: 4,
  transport: 3,
  tun: 3,
  dataplane: 3,
  host: 3,
  diagnosis: 3,
  ike: 2,
  esp: 2,
  wire: 1,
  crypto: 1,
  native: 0
}
/** Files directly in `src/`, all on the ground. */
const GROUND_FILES: readonly string[] = ['src/clock.ts', 'src/errors.ts', 'src/log.ts', 'src/secret.ts']
/** Up to here nothing may be imported but what is listed below. */
const HIGHEST_PURE_FLOOR = 2

/** What the lower floors may import from outside, by folder or file. */
const OUTSIDE_IMPORTS: Readonly<Record<string, readonly RegExp[]>> = {
  'src/secret.ts': [/^node:util$/],
  'src/native': [/^koffi$/, /^node:module$/],
  'src/crypto': [/^node:crypto$/, /^@noble\//, /^node-forge$/],
  // TLS as an engine of bytes is node:tls over a stream in memory.
  'src/crypto/tls-engine.ts': [/^node:(tls|stream|net)$/],
  // The list of roots that Node brings along.
  'src/crypto/trust-store.ts': [/^node:tls$/],
  // isIP() alone.
  'src/crypto/certificate-extensions.ts': [/^node:net$/]
}

/** Folders that get bytes, time and chance as arguments. */
const SANS_IO_FOLDERS: readonly string[] = ['ike', 'esp', 'wire']
const IMPURE: readonly { readonly pattern: RegExp; readonly name: string }[] = [
  { pattern: /\bDate\s*\.\s*now\b/, name: 'Date.now' },
  { pattern: /\bnew\s+Date\s*\(\s*\)/, name: 'new Date()' },
  { pattern: /\b(?:setTimeout|setInterval|setImmediate|queueMicrotask)\b/, name: 'a timer' },
  { pattern: /\bMath\s*\.\s*random\b/, name: 'Math.random' },
  { pattern: /\b(?:randomBytes|randomFillSync|getRandomValues|randomUUID)\b/, name: 'a random generator' },
  { pattern: /\bconsole\s*\./, name: 'console' },
  { pattern: /\bperformance\s*\./, name: 'performance' },
  { pattern: /\bprocess\s*\./, name: 'process' }
]

/**
 * Every breach of the rules, a sentence each.
 * @param files source text by path, such as `src/ike/types.ts`
 */
export function architectureViolations(files: ReadonlyMap<string, string>): string[] {
  const graph = new Map<string, string[]>()
  const violations: string[] = []
  for (const [path, text] of files) {
    const code = withoutComments(text)
    const imports = importsOf(code)
    const inside = imports.filter((name) => name.startsWith('.')).map((name) => join(dirname(path), name))
    graph.set(path, inside)
    violations.push(
      ...unplaced(path),
      ...inside.flatMap((target) => wrongDirection(path, target, files)),
      ...imports.filter((name) => !name.startsWith('.')).flatMap((name) => wrongOutside(path, name)),
      ...impurities(path, code)
    )
  }
  return [...violations, ...circles(graph, 'files'), ...circles(folderGraph(graph), 'folders')]
}

/** Module names of every import and re-export, types included: a type is knowledge, too. */
export function importsOf(code: string): string[] {
  const statements = /\b(?:import|export)\b[^'"`;=]*?\bfrom\s*['"]([^'"]+)['"]/g
  const bare = /\b(?:import|require)\s*\(?\s*['"]([^'"]+)['"]/g
  return [...code.matchAll(statements), ...code.matchAll(bare)].map((match) => match[1] ?? '')
}

/** Blanks comments and leaves strings alone, so that a `//` inside a string hides nothing. */
export function withoutComments(text: string): string {
  const token = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g
  return text.replace(token, (found) => (found.startsWith('/') ? ' ' : found))
}

function withoutStrings(code: string): string {
  return code.replace(/'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"/g, "''")
}

function folderOf(path: string): string {
  return path.split('/').length > 2 ? (path.split('/')[1] ?? '') : ''
}

function floorOf(path: string): number | undefined {
  if (GROUND_FILES.includes(path)) return 0
  return FLOORS[folderOf(path)]
}

function unplaced(path: string): string[] {
  if (floorOf(path) !== undefined) return []
  return [`${path} is on no floor: put it into a folder of the house, or give its folder a floor here.`]
}

function wrongDirection(path: string, target: string, files: ReadonlyMap<string, string>): string[] {
  if (!target.startsWith('src/')) return [`${path} imports ${target}, which is outside of src/.`]
  if (!files.has(target)) return [`${path} imports ${target}, which does not exist.`]
  const from = floorOf(path)
  const to = floorOf(target)
  if (from === undefined || to === undefined || to <= from) return []
  return [`${path} (floor ${from}) imports ${target} (floor ${to}): imports run downwards only.`]
}

function wrongOutside(path: string, name: string): string[] {
  const floor = floorOf(path)
  if (floor === undefined || floor > HIGHEST_PURE_FLOOR) return []
  const allowed = [...(OUTSIDE_IMPORTS[path] ?? []), ...(OUTSIDE_IMPORTS[`src/${folderOf(path)}`] ?? [])]
  if (allowed.some((pattern) => pattern.test(name))) return []
  return [`${path} imports ${name}: floor ${floor} does without it, or takes it as an argument.`]
}

function impurities(path: string, code: string): string[] {
  if (!SANS_IO_FOLDERS.includes(folderOf(path))) return []
  const bare = withoutStrings(code)
  return IMPURE.filter(({ pattern }) => pattern.test(bare)).map(
    ({ name }) => `${path} uses ${name}: time, chance and output belong to whoever drives the engine.`
  )
}

/** Which folder knows which other; the files of the ground count as one. */
function folderGraph(graph: ReadonlyMap<string, readonly string[]>): Map<string, string[]> {
  const folders = new Map<string, string[]>()
  for (const [path, targets] of graph) {
    const from = `src/${folderOf(path)}`
    const others = targets.map((target) => `src/${folderOf(target)}`).filter((to) => to !== from)
    folders.set(from, [...new Set([...(folders.get(from) ?? []), ...others])])
  }
  return folders
}

/** One sentence for each circle that a depth-first walk closes. */
function circles(graph: ReadonlyMap<string, readonly string[]>, what: string): string[] {
  const found: string[] = []
  const done = new Set<string>()
  const walk = (node: string, trail: readonly string[]): void => {
    const start = trail.indexOf(node)
    if (start >= 0) {
      found.push(`A circle of ${what}: ${[...trail.slice(start), node].join(' -> ')}.`)
      return
    }
    if (done.has(node)) return
    for (const next of graph.get(node) ?? []) walk(next, [...trail, node])
    done.add(node)
  }
  for (const node of graph.keys()) walk(node, [])
  return found
}
