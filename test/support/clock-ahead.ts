/**
 * Loaded before `bursar` (node --import): the machine's clock as seen by this process is CLOCK_AHEAD_MS ahead: at once,
 * or only when it is told by SIGUSR2. A process that takes over from a killed one finds its lease lapsed, as it would have
 * some seconds later.
 */
const step = Number(process.env['CLOCK_AHEAD_MS'])
const now = Date.now
let ahead = process.env['CLOCK_AHEAD'] === 'when told' ? 0 : step
Date.now = () => now() + ahead
process.on('SIGUSR2', () => {
  ahead += step
})
