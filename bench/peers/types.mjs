/**
 * What a program under comparison has to tell and to do.
 * @module
 */

/**
 * @typedef {object} Running one end of a tunnel
 * @property {readonly number[]} pids its processes; descendants count too
 * @property {() => Promise<void>} stop
 */

/**
 * @typedef {Running & { readonly program: import('../compare/site.mjs').Program }} RunningClient
 */

/**
 * @typedef {object} Peer
 * @property {string} name in options and JSON
 * @property {string} label for people
 * @property {boolean} own ikestream itself
 * @property {readonly string[]} programs that have to be there, and are sought along PATH
 * @property {string} innerAddress the gateway's, inside
 * @property {() => Promise<string>} version
 * @property {(site: import('../compare/site.mjs').Site) => Promise<Running>} startServer resolves once a client may come
 * @property {(site: import('../compare/site.mjs').Site) => Promise<RunningClient>} startClient the command that is timed: resolves
 *   when everything has been started that a user would start; traffic may pass later
 */

export {}
