import { openTill } from '../app.ts'
import { openMetrics } from '../http/metrics.ts'
import { startHttp } from '../http/server.ts'
import { readVersion } from '../version.ts'
import { action, type Registers, stopped } from './command.ts'

export const serve: Registers = (program, shell) => {
  program
    .command('serve')
    .description('run the till: sells credits over HTTP (MCP at /mcp) and watches the chains')
    .action(
      action(shell, async ({ settings, runtime: plain, signal, answer }) => {
        const access = settings.config.http.metrics
        const watched = access === 'off' ? null : await openMetrics()
        const runtime = watched ? { ...plain, metrics: watched.metrics } : plain
        const till = await openTill({ settings, runtime })
        try {
          const server = await startHttp({
            runtime,
            version: readVersion(),
            host: settings.host,
            port: settings.port,
            allowedHosts: settings.config.http.allowed_hosts,
            checks: till.checks,
            degraded: till.degraded,
            ...(watched && access !== 'off'
              ? {
                  metrics: {
                    access,
                    adminToken: settings.adminToken,
                    read: () => watched.read(till.readings),
                  },
                }
              : {}),
            authenticate: till.authenticate,
            bursarFor: till.bursarFor,
            calls: till.calls,
            accounts: till.accounts,
            claimPayment: till.claimPayment,
          })
          try {
            answer(
              { url: server.url, mcp: `${server.url}/mcp`, payee: till.payee },
              [
                `${settings.config.seller.name} is open at ${server.url} (MCP at ${server.url}/mcp)`,
                `payee ${till.payee}`,
                `rails ${till.rails.join(', ') || 'none: configure chains and keys'}`,
              ].join('\n'),
            )
            await stopped(signal)
          } finally {
            await server.close()
          }
        } finally {
          await till.close()
        }
      }),
    )
}
