/**
 * Loaded before `bursar` (node --import): the machine's clock as seen by this process is CLOCK_AHEAD_MS ahead. A
 * process that takes over from a killed one finds its lease lapsed, as it would have some seconds later.
 */
const ahead = Number(process.env['CLOCK_AHEAD_MS'])
const now = Date.now
Date.now = () => now() + ahead
