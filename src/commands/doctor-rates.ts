/** What the doctor says about rates: one line for each asset, with what each source answers and how old it is. */
import type { Chain } from '../chains/chain.ts'
import { openEvmNetworks } from '../chains/index.ts'
import { BursarError, toBursarError } from '../errors.ts'
import { formatPrice } from '../money.ts'
import { purseNetworks } from '../purse/open.ts'
import { openRates } from '../rates/open.ts'
import type { SourceReport } from '../rates/source.ts'
import type { Context } from './command.ts'
import { type Check, tryOpen } from './doctor-check.ts'

/** Every accepted asset, and the coins in which a purse pays fees: each source's answer, then the price they make. */
export async function checkRates(
  { settings, runtime }: Pick<Context, 'settings' | 'runtime'>,
  chains: readonly Chain[],
  check: Check,
): Promise<void> {
  const { config } = settings
  const purseCoins = config.purse
    ? tryOpen(() => purseNetworks(settings, runtime)).flatMap(({ native, assets }) => [native, ...assets])
    : []
  const symbols = new Set(
    [...chains.flatMap(({ assets }) => assets), ...purseCoins].map(({ symbol }) => symbol),
  )
  if (symbols.size === 0) return
  const networks = openEvmNetworks({ config, runtime })
  for (const symbol of symbols) {
    await check(`rate ${symbol}`, async () => {
      const rates = openRates({
        config: config.rates,
        networks: [...chains, ...networks],
        feeds: networks,
        runtime,
      })
      const answers = (await rates.survey(symbol)).map((report) => describeAnswer(report, runtime.now()))
      try {
        const { priceE8, source } = await rates.quote(symbol)
        return `${formatPrice(priceE8)} USD (${source})${source === 'fixed' ? '' : `: ${answers.join('; ')}`}`
      } catch (thrown) {
        const { code, message, remedy } = toBursarError(thrown)
        throw new BursarError(code, [message, ...answers].join('\n      '), {
          ...(remedy === undefined ? {} : { remedy }),
          cause: thrown,
        })
      }
    })
  }
}

function describeAnswer(report: SourceReport, now: number): string {
  return 'problem' in report
    ? `${report.source}: ${report.problem}`
    : `${report.source} ${formatPrice(report.priceE8)}, ${Math.floor((now - report.at) / 1000)} s old`
}
