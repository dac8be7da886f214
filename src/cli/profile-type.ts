/**
 * What a profile holds once it has been read and checked.
 * @module
 */
export interface Profile {
  readonly name: string
  readonly path: string
  readonly server: string
  /** By long option name. */
  readonly values: ReadonlyMap<string, unknown>
}
