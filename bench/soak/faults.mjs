/**
 * The faults of the soak. Each is imposed for a while, taken back, and then everything has to come back by itself.
 * @module
 */
const NO_UDP = { protocol: 'udp', action: 'drop' }
const REFUSE_STREAMS = { protocol: 'tcp', action: 'refuse' }
const NOTHING = { protocol: 'all', action: 'drop' }
/** Long enough that every stream has something to send, and is reset for it. */
const RESET_MS = 150

/**
 * `weight`: how often; `holdMs`: between these; `blocks`: while it is imposed nothing can pass, so that only what comes on top of it is
 * the session's; `early`: in the first third of the run only, so that the memory of what it ends can be judged.
 */
export const FAULTS = {
  'udp-cut': { weight: 3, holdMs: [3000, 8000], impose: (tools) => tools.net('udp-cut', [NO_UDP]) },
  'stream-reset': {
    weight: 3,
    holdMs: [RESET_MS, RESET_MS],
    impose: (tools) => tools.net('stream-reset', [REFUSE_STREAMS])
  },
  'black-hole': {
    weight: 2,
    holdMs: [500, 4000],
    blocks: true,
    impose: (tools) => tools.net('black-hole', [NOTHING])
  },
  'interface-down': { weight: 2, holdMs: [500, 3000], blocks: true, impose: interfaceDown },
  'address-change': { weight: 2, holdMs: [0, 0], impose: addressChange },
  'nat-rebinding': {
    weight: 2,
    needs: 'nft',
    holdMs: [0, 0],
    impose: ({ site, random }) => site.mapPorts(20_000 + 1000 * random.below(30))
  },
  'loss-burst': { weight: 2, needs: 'nft', holdMs: [1000, 4000], impose: lossBurst },
  'client-stopped': {
    weight: 2,
    holdMs: [500, 5000],
    blocks: true,
    impose: ({ site, random }) => stopped(random.of(site.clients).program)
  },
  'gateway-stopped': {
    weight: 2,
    holdMs: [500, 5000],
    blocks: true,
    impose: ({ site }) => stopped(site.gateway)
  },
  'relay-stopped': {
    weight: 1,
    holdMs: [500, 5000],
    blocks: true,
    impose: ({ site }) => stopped(site.relay)
  },
  'reconnect-asked': {
    weight: 1,
    holdMs: [0, 0],
    impose: ({ site, random }) => random.of(site.clients).program.kill('SIGUSR2')
  },
  'gateway-killed': {
    weight: 4,
    early: true,
    blocks: true,
    holdMs: [0, 2000],
    impose: (tools) => replaced(tools, 'gateway', 'SIGKILL')
  },
  'gateway-restarted': {
    weight: 2,
    early: true,
    blocks: true,
    holdMs: [0, 2000],
    impose: (tools) => replaced(tools, 'gateway', 'SIGTERM')
  },
  'relay-killed': {
    weight: 2,
    early: true,
    blocks: true,
    holdMs: [0, 1000],
    impose: (tools) => replaced(tools, 'relay', 'SIGKILL')
  },
  /** Past liveness: the other end has given the session up by then. Once each, in long runs. */
  'client-stopped-for-long': {
    weight: 0,
    holdMs: [90_000, 90_000],
    blocks: true,
    impose: ({ site }) => stopped(site.clients[0].program)
  },
  'gateway-stopped-for-long': {
    weight: 0,
    holdMs: [40_000, 40_000],
    blocks: true,
    impose: ({ site }) => stopped(site.gateway)
  }
}

/** What the router does, as the sum of the faults in force. */
export class RouterFaults {
  #hotel
  #active = new Map()
  #turn = Promise.resolve()

  constructor(hotel) {
    this.#hotel = hotel
  }

  set(name, faults) {
    const change = () => {
      if (faults === undefined) this.#active.delete(name)
      else this.#active.set(name, faults)
      return this.#hotel.setFaults([...this.#active.values()].flat())
    }
    this.#turn = this.#turn.then(change)
    return this.#turn
  }
}

/** What a network manager does when a cable or an address is new; metrics as the lab set them. */
function bringBackRoute({ namespace, router, device, routerDevice }) {
  const metric = String(100 + Number(/\d+$/.exec(routerDevice)))
  return namespace.run(['ip', 'route', 'replace', 'default', 'via', router, 'dev', device, 'metric', metric])
}

async function interfaceDown({ site }) {
  const { host } = site.clients[0]
  const { namespace, device } = host
  await namespace.run(['ip', 'link', 'set', 'dev', device, 'down'])
  return async () => {
    await namespace.run(['ip', 'link', 'set', 'dev', device, 'up'])
    await bringBackRoute(host)
  }
}

/** As a DHCP server does when a lease is not renewed. */
async function addressChange({ site, random }) {
  const { host } = random.of(site.clients)
  const { namespace, device, router } = host
  const fresh = router.replace(/\d+$/, String(10 + random.below(200)))
  await namespace.run(['ip', '-4', 'addr', 'flush', 'dev', device])
  await namespace.run(['ip', 'addr', 'add', `${fresh}/24`, 'dev', device])
  await bringBackRoute(host)
}

async function lossBurst({ site, random }) {
  await site.lose(10 + random.below(30))
  return () => site.lose(0)
}

function stopped(program) {
  program.kill('SIGSTOP')
  return () => program.kill('SIGCONT')
}

async function replaced({ site }, which, signal) {
  site[which].kill(signal)
  await site[which].exited
  return () => (which === 'gateway' ? site.startGateway() : site.startRelay())
}
