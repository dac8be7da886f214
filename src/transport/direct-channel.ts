/**
 * A channel on a direct stream: a batch of frames is sent in one call.
 * @module
 */
import type { Clock } from '../clock.ts'
import type { Channel, ChannelEvents } from './channel.ts'
import { DirectConduit, type DirectSenderEvents } from './direct-conduit.ts'
import type { DirectStream } from './direct-stream.ts'
import { DirectTransmit } from './direct-transmit.ts'
import type { StreamGovernor } from './stream-governor.ts'
import type { EspTransmit, TransportFailure } from './types.ts'

export class DirectChannel extends DirectConduit<DirectTransmit> implements Channel {
  constructor(
    stream: DirectStream,
    originator: boolean,
    events: ChannelEvents,
    clock: Clock,
    describe: (errno: number) => TransportFailure,
    governor?: StreamGovernor
  ) {
    const createTransmit = (senderEvents: DirectSenderEvents) =>
      new DirectTransmit(stream, originator, senderEvents, governor)
    super(stream, createTransmit, events, clock, describe)
  }

  get esp(): EspTransmit {
    return this.sender
  }

  sendFrame(frame: Uint8Array): void {
    this.sender.sendFrame(frame)
  }
}
