/**
 * A lab namespace's own /etc: everything of the machine's, except for the files that say how names are resolved. These are real files,
 * so that they can be looked at, and whatever runs in there can replace them; the machine's own are out of its reach.
 * @module
 */
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { LabNamespace } from './netlab.ts'

const OWN_FILES = ['hosts', 'resolv.conf', 'nsswitch.conf', 'netns', 'resolvconf']

export class PrivateEtc {
  readonly #directory: string

  private constructor(directory: string) {
    this.#directory = directory
  }

  /**
   * @param directory an empty one of the caller's
   * @param files contents by path below /etc
   */
  static async mount(
    namespace: LabNamespace,
    directory: string,
    files: Readonly<Record<string, string>>
  ): Promise<PrivateEtc> {
    const [machine, own] = [join(directory, 'machine'), join(directory, 'etc')]
    await Promise.all([mkdir(machine), mkdir(own)])
    // Recursive: what is mounted below /etc (as in containers) may not be uncovered in a namespace of less privilege.
    await namespace.run(['mount', '--rbind', '/etc', machine])
    const wanted = Object.keys(files).map((path) => path.split('/')[0])
    const names = (await readdir('/etc')).filter(
      (name) => !OWN_FILES.includes(name) && !wanted.includes(name)
    )
    await Promise.all(names.map((name) => symlink(join(machine, name), join(own, name))))
    await writeFile(join(own, 'nsswitch.conf'), 'passwd: files\ngroup: files\nhosts: files dns\n')
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(own, name)), { recursive: true })
      await writeFile(join(own, name), text)
    }
    await namespace.run(['mount', '--bind', own, '/etc'])
    return new PrivateEtc(own)
  }

  read(name: string): Promise<string> {
    return readFile(join(this.#directory, name), 'utf8')
  }

  async write(name: string, text: string): Promise<void> {
    await writeFile(join(this.#directory, name), text)
  }
}
