import { join } from 'node:path'
import type { Settings } from '../config.ts'
import { invalid } from '../errors.ts'
import { formatDecimal } from '../money.ts'
import { readBalance } from '../purse/balance.ts'
import { purseNetworks } from '../purse/open.ts'
import { purseConfig } from '../purse/settings.ts'
import { createWallet, walletAddress } from '../purse/wallet.ts'
import { action, type Registers, type Shell } from './command.ts'

export const wallet: Registers = (program, shell) => {
  const group = program.command('wallet').description("the purse's wallet")

  group
    .command('create')
    .argument(
      '[path]',
      'file for the encrypted key (default: purse.wallet.keystore, or wallet.json in the data folder)',
    )
    .description('make a new key, encrypted with BURSAR_WALLET_PASSWORD; never overwrites')
    .action(
      action(
        shell,
        async ({ settings, runtime, answer }, path: string | undefined) => {
          const created = await createWallet(runtime, {
            path: keystorePath(settings, path),
            password: passwordFrom(settings, shell),
          })
          answer(
            created,
            `${created.address}\nThe key is in ${created.path}. Keep a copy of it and of the password.`,
          )
        },
        { wallet: true },
      ),
    )

  group
    .command('address')
    .description('print the address to fund')
    .action(
      action(
        shell,
        async ({ settings, answer }) => {
          const address = await walletAddress(purseConfig(settings).wallet)
          answer({ address }, address)
        },
        { wallet: true },
      ),
    )

  group
    .command('balance')
    .description('what the wallet holds on each configured chain')
    .action(
      action(
        shell,
        async ({ settings, runtime, answer }) => {
          const address = await walletAddress(purseConfig(settings).wallet)
          const balances = []
          for (const network of purseNetworks(settings, runtime)) {
            for (const asset of network.assets) {
              const amount = await readBalance(network, address, asset)
              const display = `${formatDecimal(amount, asset.decimals)} ${asset.symbol}`
              balances.push({ rail: `${network.id}:${asset.symbol}`, amount: amount.toString(), display })
            }
          }
          const lines = balances.map(({ rail, display }) => `${rail.padEnd(20)} ${display}`)
          answer({ address, balances }, [address, ...lines].join('\n'))
        },
        { wallet: true },
      ),
    )
}

function keystorePath(settings: Settings, given: string | undefined): string {
  if (given !== undefined) return given
  const configured = settings.config.purse?.wallet
  return configured && 'keystore' in configured ? configured.keystore : join(settings.dataDir, 'wallet.json')
}

function passwordFrom(settings: Settings, { env }: Shell): string {
  const configured = settings.config.purse?.wallet
  const password = configured && 'password' in configured ? configured.password : env.BURSAR_WALLET_PASSWORD
  if (password) return password
  throw invalid('A new wallet needs a password.', {
    remedy: 'Set BURSAR_WALLET_PASSWORD to a long random one.',
  })
}
