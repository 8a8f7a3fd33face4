/** Loaded into the till by the benchmark: says what memory the process uses when it is asked with SIGUSR2. */
process.on('SIGUSR2', () => {
  const { gc } = globalThis as { gc?: () => void }
  gc?.()
  const { rss, heapUsed, external } = process.memoryUsage()
  process.stderr.write(`memory ${JSON.stringify({ rss, heapUsed, external })}\n`)
})
