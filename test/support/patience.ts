/**
 * How long a test waits for what must come, milliseconds. It matters only where something is broken: a machine with
 * much else to do takes many times as long as a quiet one, so it is long.
 */
export const PATIENCE_MS = 120_000
