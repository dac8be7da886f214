/**
 * The name of the command that completion scripts ask for names.
 * @module
 */
export const NAMES_COMMAND = '__names'
