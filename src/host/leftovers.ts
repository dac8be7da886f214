/**
 * What sessions without a journal leave in the runtime folder when they are killed: sockets that nobody listens on, and the
 * files of private networks. None of it does any harm; it is only not needed any more.
 * @module
 */
import { existsSync } from 'node:fs'
import { lstat, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { connectControl } from './control-client.ts'
import { controlPath, listControlSockets } from './control-path.ts'

const SCRATCH = /\.(\d+)\.exec$/

/** The folder with the files of a private network that this process has made. */
export function scratchFolder(runtimeDirectory: string, sessionName: string): string {
  return join(runtimeDirectory, `${sessionName}.${process.pid}.exec`)
}

/** Removes what belongs to nobody any more. Never rejects. */
export async function removeLeftovers(runtimeDirectory: string): Promise<void> {
  const names = await listControlSockets(runtimeDirectory)
  await Promise.all(names.map((name) => removeDeadSocket(controlPath(runtimeDirectory, name))))
  for (const entry of await readdir(runtimeDirectory).catch(() => [])) {
    const pid = SCRATCH.exec(entry)?.[1]
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue
    await rm(join(runtimeDirectory, entry), { recursive: true, force: true }).catch(() => undefined)
  }
}

async function removeDeadSocket(path: string): Promise<void> {
  try {
    const { ino } = await lstat(path)
    const error = await connectControl(path).then(
      (socket) => void socket.destroy(),
      (cause: NodeJS.ErrnoException) => cause
    )
    // Another session of that name may have put its own there in between.
    if (error?.code === 'ECONNREFUSED' && (await lstat(path)).ino === ino) await rm(path)
  } catch {
    // It is gone.
  }
}
