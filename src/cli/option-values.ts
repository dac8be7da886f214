/**
 * The effective values of the options that `connect`, `check` and `exec` share, by their long names, wherever they come from.
 * @module
 */

/** Where an effective value came from. */
export type ValueSource = 'option' | 'environment' | 'profile' | 'default'

export interface OptionValues {
  text(name: string): string | undefined
  number(name: string): number | undefined
  list(name: string): readonly string[]
  flag(name: string): boolean
  /** For `--no-x` options: false only if x was switched off somewhere. */
  enabled(name: string): boolean
  source(name: string): ValueSource
}
