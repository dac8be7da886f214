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

/** Reads one effective value in each of its shapes. What a value may be was checked where it came in. */
export abstract class CheckedOptionValues implements OptionValues {
  abstract source(name: string): ValueSource
  /** By the long name; undefined when nobody said anything. */
  protected abstract value(name: string): unknown

  text(name: string): string | undefined {
    const value = this.value(name)
    return typeof value === 'string' ? value : undefined
  }

  number(name: string): number | undefined {
    const value = this.value(name)
    return typeof value === 'number' ? value : undefined
  }

  list(name: string): readonly string[] {
    const value = this.value(name)
    if (typeof value === 'string') return [value]
    return Array.isArray(value) ? (value as string[]) : []
  }

  flag(name: string): boolean {
    return this.value(name) === true
  }

  enabled(name: string): boolean {
    return this.value(name) !== false
  }
}
