/** `bursar prices`: what each model costs its buyers, and where that price is from. */
import type { Command } from 'commander'
import { BursarError } from '../errors.ts'
import { readModels } from '../models/catalogue.ts'
import { priceList } from '../models/prices/list.ts'
import {
  type Columns,
  type PeriodPrice,
  type PlacePrice,
  type PriceReport,
  priceReport,
  type RateRow,
} from '../models/prices/report.ts'
import { action, type Registers } from './command.ts'

interface Options {
  readonly lists?: boolean
}

export const prices: Registers = (program: Command, shell) => {
  program
    .command('prices')
    .argument('[model]', 'only this one')
    .option('--lists', 'the providers whose list prices are known, for price_list')
    .description('what each model costs, in credits and USD per million tokens')
    .action(
      action(shell, async ({ settings, runtime, answer }, asked: string | undefined, options: Options) => {
        if (options.lists) {
          const { providers, source } = priceList()
          answer({ lists: providers, source }, `${providers.join('\n')}\nfrom ${source}`)
          return
        }
        const { config } = settings
        const all = priceReport(readModels(config), runtime.now())
        const models = asked === undefined ? all : all.filter(({ model }) => model === asked)
        if (asked !== undefined && models.length === 0) {
          throw new BursarError('unknown_model', `There is no model called ${JSON.stringify(asked)} here.`, {
            remedy: 'bursar prices shows all of them; add it under models in the configuration.',
          })
        }
        answer({ credit_usd: config.credit.usd, models }, textOf(models, config.credit.usd))
      }),
    )
}

function textOf(models: readonly PriceReport[], creditUsd: string): string {
  if (models.length === 0) return 'No models are configured.'
  const rows = models.flatMap(({ model, upstreams }) =>
    upstreams.flatMap((place, index) => rowsOf(index === 0 ? model : '', place)),
  )
  const unpriced = models.filter(({ upstreams }) => upstreams.length === 0).map(({ model }) => model)
  return [
    ...(rows.length > 0
      ? [`Credits per million tokens (USD without margin); a credit costs ${creditUsd} USD.`, '']
      : []),
    ...table([HEAD, ...rows]),
    ...(unpriced.length > 0
      ? ['', `Not sold, for lack of a price: ${unpriced.join(', ')}. Give them one, or credits_per_call.`]
      : []),
  ].join('\n')
}

const HEAD = [
  'MODEL',
  'UPSTREAM',
  'INPUT',
  'OUTPUT',
  'CACHED',
  'WRITE',
  'WRITE 1H',
  'REASONING',
  'MARGIN',
  'PRICE',
]

function rowsOf(model: string, place: PlacePrice): string[][] {
  const { upstream, upstream_model: named, margin_percent: margin, source } = place
  return [
    ...periodRows([model, named === model ? upstream : `${upstream} ${named}`], place, [
      `${margin}%`,
      source,
    ]),
    ...place.others.flatMap((other) => periodRows(['', ''], other, ['', ''])),
  ]
}

function periodRows(before: string[], period: PeriodPrice, [margin = '', source = '']: string[]): string[][] {
  const when = [
    ...(period.from === null ? [] : [`from ${period.from}`]),
    ...(period.daily === null ? [] : [`daily ${period.daily} UTC`]),
  ]
  const about = [source, ...when].filter(Boolean).join(', ')
  if (period.credits_per_call !== undefined) {
    return [[...before, `${shortened(period.credits_per_call)} a call`, '', '', '', '', '', '', about]]
  }
  return (period.rates ?? []).map((row, index) =>
    index === 0
      ? [...before, ...cells(row), margin, about]
      : ['', '', ...cells(row), '', `above ${row.above_input_tokens} input tokens`],
  )
}

const COLUMNS: readonly (keyof Columns)[] = [
  'input',
  'output',
  'cached_input',
  'cache_write',
  'cache_write_1h',
  'reasoning',
]

function cells({ credits_per_million: credits, usd_per_million: usd }: RateRow): string[] {
  return COLUMNS.map((column) => {
    const amount = credits[column]
    return amount === null ? '-' : `${shortened(amount)} ($${usd[column]})`
  })
}

/** 2.500000 as 2.5: six decimals in eight columns are hard to read. */
function shortened(credits: string): string {
  return credits.replace(/\.?0+$/, '')
}

/** Without columns in which nothing stands. */
function table([head = [], ...rows]: string[][]): string[] {
  const used = head.map((_, column) => rows.some((row) => !['', '-', undefined].includes(row[column])))
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  if (rows.length === 0) return []
  return [head, ...rows].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .filter((_, column) => used[column])
      .join('  ')
      .trimEnd(),
  )
}
