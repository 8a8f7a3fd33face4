/** Serves the tools over stdio with the till and purse in memory: what `bursar mcp` does with the real ones. */
import { serveMcpStdio } from '../../src/mcp/server.ts'
import { systemRuntime } from '../../src/runtime.ts'
import { memoryTill } from './memory-bursar.ts'

const till = memoryTill()
const { log } = systemRuntime('error')
const purse = process.argv.includes('--no-purse') ? {} : { purse: till.purse }
await serveMcpStdio({ bursar: till.forAccount('acc_1'), ...purse }, { version: '0.0.0-test', log }).closed
