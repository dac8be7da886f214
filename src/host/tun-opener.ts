/**
 * The program that makes a TUN device where it is started, and hands it to whoever started it: see `passed-tun.ts`. Its one
 * argument is the device's name.
 * @module
 */
import { IkestreamError, InternalError } from '../errors.ts'
import { sendDescriptors } from '../native/descriptor-passing.ts'
import { openTun } from '../tun/tun-device.ts'
import { errorData } from './error-data.ts'
import { PASSING_FD } from './passed-tun.ts'

try {
  const { fd, controlFd, ...device } = openTun({ name: process.argv[2] }).descriptors
  sendDescriptors(PASSING_FD, { text: JSON.stringify(device), descriptors: [fd, controlFd] })
} catch (error) {
  const known = error instanceof IkestreamError ? error : new InternalError('internal', String(error))
  sendDescriptors(PASSING_FD, { text: JSON.stringify({ error: errorData(known) }), descriptors: [] })
}
