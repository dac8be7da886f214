/**
 * What a lab's network services are told, and what they tell: a name server that may lie, a web that may be a portal, whoever
 * reads along in TLS, proxies.
 * @module
 */

/** What a name server answers. */
export interface NameServerPlan {
  readonly service: 'names'
  readonly address: string
  /** Addresses by name, in lower case. */
  readonly names: Readonly<Record<string, readonly string[]>>
  /** This for every name that is asked: a name server that lies. */
  readonly everything?: readonly string[] | undefined
  /** This instead of "no such name". */
  readonly missing?: readonly string[] | undefined
}

/** A web server of which everybody knows what it answers: `/generate_204`, `/success.txt`, and a challenge that it repeats. */
export interface GenuineWebPlan {
  readonly service: 'web'
  readonly address: string
  readonly port: number
}

/**
 * A captive portal. Before the login every page leads to the login page; a form there lets the client out. What letting out means is the
 * business of whoever reads `{"event":"login"}`.
 */
export interface PortalPlan {
  readonly service: 'portal'
  readonly address: string
  readonly port: number
  /** Host name of the login page, and of the API. */
  readonly name: string
  /** How it stops others: a redirect, a page in place of any page, or status 511 (RFC 6585). */
  readonly manner: 'redirect' | 'page' | 'login-required'
  /** The API of RFC 8908 on port 443, with this certificate. */
  readonly api?: TlsIdentity | undefined
}

/** Ends TLS with a certificate of its own, and speaks no IKE inside. */
export interface InterceptorPlan {
  readonly service: 'interceptor'
  readonly address: string
  readonly port: number
  readonly tls: TlsIdentity
}

/** HTTP CONNECT and SOCKS5; one that has no port is not there. */
export interface ProxyPlan {
  readonly service: 'proxy'
  readonly address: string
  readonly httpPort?: number | undefined
  readonly socksPort?: number | undefined
  /** `user:password`, without which nobody is served. */
  readonly credentials?: string | undefined
  /** Where it leads; absent: to all ports. */
  readonly ports?: readonly number[] | undefined
}

export interface TlsIdentity {
  readonly certificatePem: string
  readonly keyPem: string
}

export type ServicePlan = NameServerPlan | GenuineWebPlan | PortalPlan | InterceptorPlan | ProxyPlan

/** A line on standard output each; `listening` once, when everything does. */
export type ServiceEvent =
  | { readonly event: 'listening' }
  | { readonly event: 'login'; readonly from: string }
  /** Somebody asked a proxy; null: not so far as to say for what. */
  | {
      readonly event: 'request'
      readonly kind: 'http' | 'socks'
      readonly target: string | null
      readonly outcome: 'open' | 'denied' | 'refused'
    }
