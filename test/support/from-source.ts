/**
 * `node --import` this, and a program of this checkout that imports `bursar` by the package's exports, as its users do,
 * gets the sources instead of what `npm run build` once made of them.
 */
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

const root = new URL('../../', import.meta.url)
const { exports } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
  exports: Record<string, string | { default: string }>
}

registerHooks({
  resolve(specifier, context, next) {
    const entry = exports[specifier.replace(/^bursar(?=\/|$)/, '.')]
    if (!/^bursar(?:\/|$)/.test(specifier) || typeof entry !== 'object') return next(specifier, context)
    const source = entry.default.replace('./dist/', './').replace(/\.js$/, '.ts')
    return { url: new URL(source, root).href, shortCircuit: true }
  },
})
