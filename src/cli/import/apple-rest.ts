/**
 * The settings of an IKEv2 payload that are neither credentials nor algorithms.
 * @module
 */
import type { ProfileDraft } from './draft.ts'
import type { SettingsReader } from './settings-reader.ts'

/** What is only told, and why; a setting that is off or empty is not worth telling. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  OnDemandEnabled: 'connecting by itself: see examples/systemd and examples/networkmanager',
  OnDemandRules: 'connecting by itself: see examples/systemd and examples/networkmanager',
  OnDemandUserOverrideDisabled: 'connecting by itself: see examples/systemd and examples/networkmanager',
  DisconnectOnIdle: 'a session lasts until it is ended',
  DisconnectOnIdleTimer: 'a session lasts until it is ended',
  ServerCertificateIssuerCommonName: 'any CA in auth.cafile may have issued the certificate of the gateway',
  TLSMinimumVersion: 'EAP-TLS speaks TLS 1.2 and 1.3',
  TLSMaximumVersion: 'EAP-TLS speaks TLS 1.2 and 1.3',
  PPK: 'post-quantum pre-shared keys (RFC 8784) are not there',
  PPKIdentifier: 'post-quantum pre-shared keys (RFC 8784) are not there',
  PPKMandatory: 'post-quantum pre-shared keys (RFC 8784) are not there',
  AllowPostQuantumKeyExchangeFallback: 'there is no post-quantum exchange to fall back from',
  EnforceStrictAlgorithmSelection: 'only what is in the proposals is offered in any case',
  EnableCertificateRevocationCheck: 'nothing is fetched; name revocation lists in auth.crlfile',
  UseConfigurationAttributeInternalIPSubnet: 'routes come from the traffic selectors',
  DisableMOBIKE: 'MOBIKE is used whenever the gateway has it',
  NATKeepAliveInterval: 'keepalives are sent every 20 s',
  NATKeepAliveOffloadEnable: 'there is no hardware to leave it to',
  IncludeAllNetworks: 'without a tunnel the machine uses its network as before; see ikestream exec',
  EnforceRoutes: 'more specific routes of the machine stay',
  ExcludeLocalNetworks: 'networks that the machine is in keep their routes',
  ExcludeAPNs: 'it is about mobile phones',
  ExcludeCellularServices: 'it is about mobile phones',
  ProviderType: 'it is about extensions of the system'
}
/** Its worst case for liveness is ours anyway: ikestream asks only when traffic is not answered. */
const DPD_REASON = 'ikestream asks 30 s after traffic was not answered; session.dpd sets another time'

/** @param remoteIdentity that the gateway has to prove */
export function carryRest(
  payload: SettingsReader,
  ikev2: SettingsReader,
  draft: ProfileDraft,
  remoteIdentity: string
): void {
  draft.set('mtu', ikev2.integer('MTU'), `${ikev2.path}.MTU`)
  carryLiveness(ikev2, draft)
  carryDns(payload, draft)
  carryProxies(payload, draft)
  const commonName = ikev2.text('ServerCertificateCommonName')
  if (commonName !== undefined && commonName !== remoteIdentity)
    draft.leave(
      `${ikev2.path}.ServerCertificateCommonName`,
      'the certificate of the gateway has to carry auth.remote-identity'
    )
  const ipv4 = payload.dict('IPv4')
  if (ipv4?.flag('OverridePrimary') === false)
    draft.leave(`${ipv4.path}.OverridePrimary`, 'name the networks behind the gateway in tunnel.remote-ts')
  if (ikev2.flag('DisableRedirect') === true) draft.set('redirect', false, `${ikev2.path}.DisableRedirect`)
  for (const reader of [ikev2, payload]) {
    const unread = new Set(reader.unread())
    for (const [key, reason] of Object.entries(LEFT_OUT)) {
      const name = `${reader.path}.${key}`
      reader.ignore(key)
      if (unread.has(name)) draft.leave(name, reason)
    }
  }
}

function carryLiveness(ikev2: SettingsReader, draft: ProfileDraft): void {
  const rate = ikev2.text('DeadPeerDetectionRate')
  const setting = `${ikev2.path}.DeadPeerDetectionRate`
  if (rate === 'None') draft.set('dpd', 0, setting)
  else if (rate !== undefined) draft.leave(setting, DPD_REASON)
}

function carryDns(payload: SettingsReader, draft: ProfileDraft): void {
  const dns = payload.dict('DNS')
  if (dns !== undefined && dns.unread().length > 0)
    draft.leave(dns.path, 'name servers and their domains are those that the gateway assigns')
}

function carryProxies(payload: SettingsReader, draft: ProfileDraft): void {
  const proxies = payload.dict('Proxies')
  if (proxies === undefined) return
  const isUsed = ['HTTPEnable', 'HTTPSEnable', 'ProxyAutoConfigEnable', 'ProxyAutoDiscoveryEnable'].some(
    (key) => proxies.flag(key) === true
  )
  if (isUsed) draft.leave(proxies.path, 'a proxy for what is inside the tunnel has to be set in the programs')
}
